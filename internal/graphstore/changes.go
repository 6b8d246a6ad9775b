package graphstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/authzed/spicedb/pkg/datalayer"
	"github.com/authzed/spicedb/pkg/datastore"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/authzed/spicedb/pkg/zedtoken"

	"github.com/agentid-dev/agentid"
)

// changeChunk is how many changes share a row of the change log; it bounds what a
// transaction keeps in memory and how long a step of the collection takes.
const changeChunk = 1000

// Commit is what the commit hook gets to know.
type Commit struct {
	Revision      datastore.Revision
	SchemaHash    string                     // of the schema at Revision
	Relationships []tuple.RelationshipUpdate // touched or deleted; a create is a touch
	Schema        bool                       // a definition or the stored schema changed
	Truncated     bool                       // more changed than Relationships says: assume everything did
}

// Zookie is the ZedToken of a commit: an error means that the store is closed.
func (s *Store) Zookie(c Commit) (agentid.Zookie, error) {
	token, err := zedtoken.NewFromRevision(context.Background(), c.Revision, datalayer.SchemaHash(c.SchemaHash), s)
	if err != nil {
		return "", fmt.Errorf("graphstore: compose a zookie: %w", err)
	}
	return agentid.Zookie(token.GetToken()), nil
}

// Head is the newest commit, without its changes.
func (s *Store) Head() Commit {
	h := s.head.Load()
	return Commit{Revision: Revision(h.rev), SchemaHash: h.schemaHash}
}

// changeOp says what happened to a thing. The letters are in the file.
type changeOp byte

const (
	opTouch  changeOp = 'T' // a relationship was created or replaced
	opDelete changeOp = 'D' // a relationship was deleted
	opDefine changeOp = 'S' // a definition was created or replaced
	opRemove changeOp = 'R' // a definition was deleted
)

// change is one entry of the change log.
type change struct {
	op      changeOp
	kind    defKind // definitions only
	key     string  // forward key, or the definition's name
	expires int64
	data    []byte // caveat, or the definition
}

// changeSet collects what a transaction changed, net: what ends as it began is no
// change. Beyond changeChunk it spills to the log and forgets.
type changeSet struct {
	list    []change
	index   map[string]int
	existed []bool // the thing was there before the transaction
	spilled bool
	schema  bool
}

func (c *changeSet) add(ch change, existed bool) {
	if c.index == nil {
		c.index = map[string]int{}
	}
	id := string([]byte{byte(ch.kind)}) + ch.key
	if i, ok := c.index[id]; ok {
		c.list[i] = ch
		return
	}
	c.index[id] = len(c.list)
	c.list = append(c.list, ch)
	c.existed = append(c.existed, existed)
}

// take gives the net changes and empties the set.
func (c *changeSet) take() []change {
	net := c.list[:0]
	for i, ch := range c.list {
		gone := ch.op == opDelete || ch.op == opRemove
		if !gone || c.existed[i] {
			net = append(net, ch)
		}
	}
	c.list, c.index, c.existed = nil, nil, nil
	return net
}

func encodeChanges(list []change) []byte {
	var b []byte
	for _, ch := range list {
		b = append(b, byte(ch.op), byte(ch.kind))
		b = binary.AppendUvarint(b, uint64(len(ch.key)))
		b = append(b, ch.key...)
		b = binary.AppendVarint(b, ch.expires)
		b = binary.AppendUvarint(b, uint64(len(ch.data)))
		b = append(b, ch.data...)
	}
	return b
}

var errChanges = errors.New("graphstore: damaged change log")

func decodeChanges(b []byte) ([]change, error) {
	var list []change
	bytes := func() ([]byte, bool) {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, false
		}
		out := b[w : w+int(n)]
		b = b[w+int(n):]
		return out, true
	}
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, errChanges
		}
		ch := change{op: changeOp(b[0]), kind: defKind(b[1])}
		b = b[2:]
		key, ok := bytes()
		if !ok {
			return nil, errChanges
		}
		ch.key = string(key)
		var w int
		if ch.expires, w = binary.Varint(b); w <= 0 {
			return nil, errChanges
		}
		b = b[w:]
		if ch.data, ok = bytes(); !ok {
			return nil, errChanges
		}
		if len(ch.data) == 0 {
			ch.data = nil
		}
		list = append(list, ch)
	}
	return list, nil
}

// addTo adds the change to what a watch reports.
func (ch *change) addTo(out *datastore.RevisionChanges) error {
	switch ch.op {
	case opTouch, opDelete:
		r := row{key: ch.key, expires: ch.expires, caveat: ch.data}
		rel, err := r.relationship(byResource)
		if err != nil {
			return err
		}
		op := tuple.UpdateOperationTouch
		if ch.op == opDelete {
			op = tuple.UpdateOperationDelete
		}
		out.RelationshipChanges = append(out.RelationshipChanges, tuple.RelationshipUpdate{Operation: op, Relationship: rel})
	case opDefine:
		return ch.addDefinition(out)
	case opRemove:
		switch ch.kind {
		case defNamespace:
			out.DeletedNamespaces = append(out.DeletedNamespaces, ch.key)
		case defCaveat:
			out.DeletedCaveats = append(out.DeletedCaveats, ch.key)
		case defCounter, defSchema: // not part of a watch
		}
	default:
		return fmt.Errorf("%w: operation %q", errChanges, ch.op)
	}
	return nil
}

func (ch *change) addDefinition(out *datastore.RevisionChanges) error {
	var m message
	switch ch.kind {
	case defNamespace:
		m = &core.NamespaceDefinition{}
	case defCaveat:
		m = &core.CaveatDefinition{}
	case defCounter, defSchema:
		return nil
	default:
		return fmt.Errorf("%w: kind %d", errChanges, ch.kind)
	}
	if err := m.UnmarshalVT(ch.data); err != nil {
		return fmt.Errorf("%w: %w", errChanges, err)
	}
	out.ChangedDefinitions = append(out.ChangedDefinitions, m)
	return nil
}
