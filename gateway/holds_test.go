package gateway

import (
	"math"
	"testing"

	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/wire"
)

// However many holds of whatever amounts are ahead, their sum never turns negative, which
// would make room where there is none.
func TestSumOfHoldsDoesNotOverflow(t *testing.T) {
	ahead := make([]wire.Ahead, 1025)
	for i := range ahead {
		ahead[i].Amount = connectors.MaxInteger
	}
	got := sum(ahead)
	if left := int64(100) - got; left >= 0 {
		t.Fatalf("%d holds leave %d", len(ahead), left)
	}
	if got > math.MaxInt64-connectors.MaxInteger {
		t.Fatalf("one amount more overflows: %d", got)
	}
}
