package restore

import (
	"errors"
	"fmt"

	"github.com/agentid-dev/agentid"
)

// Seen is what the data says of itself at the start.
type Seen struct {
	Incarnation string
	Epoch       agentid.Epoch  // the last that the ledger gave out
	HadMark     bool           // the ledger was run with a mark before
	Floor       agentid.Zookie // of the ledger: the graph was at least here
	Head        agentid.Zookie // of the graph
}

// Evidence says why the data is older than it once was; "" when nothing says so. marked
// and err are what Open gave. An error means that it cannot be told.
func Evidence(marked Marked, err error, s Seen, newer func(a, b agentid.Zookie) (bool, error)) (string, error) {
	switch {
	case errors.Is(err, ErrNoMark) && s.HadMark:
		return "the data was run with a mark, and there is none: it was put in place from a backup", nil
	case errors.Is(err, ErrNoMark):
	case err != nil:
		return "", err
	case marked.Incarnation != s.Incarnation:
		return "the mark is of another incarnation than the ledger", nil
	case marked.Epoch > s.Epoch:
		return fmt.Sprintf("the mark knows of revocation %d, the ledger of %d at most", marked.Epoch, s.Epoch), nil
	}
	if s.Floor == "" || s.Head == "" {
		return "", nil
	}
	ahead, err := newer(s.Floor, s.Head)
	if err != nil {
		return "", fmt.Errorf("compare the graph with the ledger: %w", err)
	}
	if ahead {
		return "the graph is older than the ledger: revocations are missing in it", nil
	}
	return "", nil
}
