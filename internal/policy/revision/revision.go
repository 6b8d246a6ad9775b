// Package revision puts zookies of one graph in order, where its datastore numbers its
// revisions: ours on SQLite, and CockroachDB. It decides nothing: what it cannot order, it
// says so, and the caller asks the graph.
package revision

import (
	"hash/maphash"
	"math/big"
	"sync/atomic"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	implv1 "github.com/authzed/spicedb/pkg/proto/impl/v1"
	"github.com/authzed/spicedb/pkg/zedtoken"

	"github.com/agentid-dev/agentid"
)

// remembered is how many read zookies are kept; a power of two.
const remembered = 1024

// Order reads zookies and remembers what it read, so that a comparison of known ones
// allocates nothing. It is safe for concurrent use.
type Order struct {
	seed maphash.Seed
	read [remembered]atomic.Pointer[revision]
}

// revision is a zookie that was read. number is nil where it cannot be ordered.
type revision struct {
	zookie    agentid.Zookie
	datastore string
	number    *big.Rat
	small     int64 // number, where it is a whole one
	whole     bool
}

// New makes an Order.
func New() *Order { return &Order{seed: maphash.MakeSeed()} }

// AtLeast reports whether have is known to be at least as new as want: the same, or a
// later one of the same graph. The empty zookie asks for nothing, and is as new as
// nothing else.
func (o *Order) AtLeast(have, want agentid.Zookie) bool {
	switch {
	case want == "" || have == want:
		return true
	case have == "":
		return false
	}
	a, b := o.of(have), o.of(want)
	switch {
	case a.number == nil || b.number == nil || a.datastore != b.datastore:
		return false
	case a.whole && b.whole:
		return a.small >= b.small
	default:
		return a.number.Cmp(b.number) >= 0
	}
}

// Newer gives the newer of two, and b where they cannot be ordered.
func (o *Order) Newer(a, b agentid.Zookie) agentid.Zookie {
	if o.AtLeast(a, b) {
		return a
	}
	return b
}

func (o *Order) of(z agentid.Zookie) *revision {
	slot := &o.read[maphash.String(o.seed, string(z))%remembered]
	if r := slot.Load(); r != nil && r.zookie == z {
		return r
	}
	r := read(z)
	slot.Store(r)
	return r
}

func read(z agentid.Zookie) *revision {
	out := &revision{zookie: z}
	decoded, err := zedtoken.Decode(&v1.ZedToken{Token: string(z)})
	if err != nil {
		return out
	}
	current, ok := decoded.GetVersionOneof().(*implv1.DecodedZedToken_V1)
	if !ok || current.V1.GetDatastoreUniqueIdPrefix() == "" {
		return out
	}
	text := current.V1.GetRevision()
	if !decimal(text) {
		return out
	}
	number, ok := new(big.Rat).SetString(text)
	if !ok {
		return out
	}
	out.datastore, out.number = current.V1.GetDatastoreUniqueIdPrefix(), number
	if number.IsInt() && number.Num().IsInt64() {
		out.small, out.whole = number.Num().Int64(), true
	}
	return out
}

// decimal admits digits with at most one point between them: "17", or CockroachDB's
// "1700000000000000000.0000000001".
func decimal(s string) bool {
	points := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && i > 0 && i < len(s)-1:
			points++
		case c < '0' || c > '9':
			return false
		}
	}
	return s != "" && len(s) <= 64 && points <= 1
}
