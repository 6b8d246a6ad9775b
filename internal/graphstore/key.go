package graphstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/authzed/spicedb/pkg/tuple"
)

// A relationship's key is its six parts joined by separator, which sorts below
// every character that a part may hold, so keys sort as their parts do. The
// forward key is type, id, relation, subject type, subject id, subject relation;
// the reverse key is subject type, subject id, subject relation, type, relation, id.
const (
	separator = "\x1f"
	prefixEnd = "\x20" // a prefix with its last separator replaced by this is its upper bound
	keyEnd    = "\x01" // a whole key followed by this is the upper bound of that key alone
)

var errIntegrity = errors.New("graphstore: relationship integrity is not supported")

// direction says which of the two orders a key belongs to.
type direction int

const (
	byResource direction = iota
	bySubject
)

func keyOf(d direction, r *tuple.Relationship) string {
	if d == byResource {
		return join(r.Resource.ObjectType, r.Resource.ObjectID, r.Resource.Relation,
			r.Subject.ObjectType, r.Subject.ObjectID, r.Subject.Relation)
	}
	return join(r.Subject.ObjectType, r.Subject.ObjectID, r.Subject.Relation,
		r.Resource.ObjectType, r.Resource.Relation, r.Resource.ObjectID)
}

func join(a, b, c, d, e, f string) string {
	return a + separator + b + separator + c + separator + d + separator + e + separator + f
}

// parseKey fills the six parts of r from a key; the parts share the key's memory.
func parseKey(d direction, k string, r *tuple.Relationship) error {
	var parts [6]string
	rest := k
	for i := range 5 {
		n := strings.IndexByte(rest, separator[0])
		if n < 0 {
			return fmt.Errorf("graphstore: damaged key %q", k)
		}
		parts[i], rest = rest[:n], rest[n+1:]
	}
	parts[5] = rest
	if d == byResource {
		r.Resource = tuple.ObjectAndRelation{ObjectType: parts[0], ObjectID: parts[1], Relation: parts[2]}
		r.Subject = tuple.ObjectAndRelation{ObjectType: parts[3], ObjectID: parts[4], Relation: parts[5]}
		return nil
	}
	r.Subject = tuple.ObjectAndRelation{ObjectType: parts[0], ObjectID: parts[1], Relation: parts[2]}
	r.Resource = tuple.ObjectAndRelation{ObjectType: parts[3], Relation: parts[4], ObjectID: parts[5]}
	return nil
}

// validKeyParts refuses what would break the order or the uniqueness of keys.
func validKeyParts(r *tuple.Relationship) error {
	for _, p := range [...]string{
		r.Resource.ObjectType, r.Resource.ObjectID, r.Resource.Relation,
		r.Subject.ObjectType, r.Subject.ObjectID, r.Subject.Relation,
	} {
		if p == "" {
			return errors.New("graphstore: a relationship has an empty part")
		}
		for i := range len(p) {
			if p[i] < ' ' {
				return fmt.Errorf("graphstore: %q holds a control character", p)
			}
		}
	}
	if r.OptionalIntegrity != nil {
		return errIntegrity
	}
	return nil
}
