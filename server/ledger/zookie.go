package ledger

import (
	"encoding/base64"
	"fmt"
	"math/big"

	impl "github.com/authzed/spicedb/pkg/proto/impl/v1"

	"github.com/agentid-dev/agentid"
)

// newerDecimal compares the revisions in two ZedTokens of one datastore. Those of the
// embedded store and of CockroachDB are decimal numbers; PostgreSQL's are not, and are
// an error here: Config.Newer has to know them.
func newerDecimal(a, b agentid.Zookie) (bool, error) {
	x, err := decimalRevision(a)
	if err != nil {
		return false, err
	}
	y, err := decimalRevision(b)
	if err != nil {
		return false, err
	}
	return x.Cmp(y) > 0, nil
}

func decimalRevision(z agentid.Zookie) (*big.Rat, error) {
	raw, err := base64.StdEncoding.DecodeString(string(z))
	if err != nil {
		return nil, agentid.Invalidf("zookie", "is not a ZedToken").WithCause(err)
	}
	var token impl.DecodedZedToken
	if err := token.UnmarshalVT(raw); err != nil {
		return nil, agentid.Invalidf("zookie", "is not a ZedToken").WithCause(err)
	}
	text := token.GetV1().GetRevision()
	if len(text) > 64 {
		return nil, agentid.Invalidf("zookie", "holds no revision")
	}
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' {
			return nil, fmt.Errorf("revision %q cannot be compared here", text)
		}
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, agentid.Invalidf("zookie", "holds no revision")
	}
	return n, nil
}
