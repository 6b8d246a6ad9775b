package policy

import (
	"encoding/binary"
	"slices"

	"github.com/agentid-dev/agentid"
)

// scope says what a key stands for. The zero scope is none.
type scope byte

const (
	exactly   scope = 'x' // one question with its inputs
	anyInputs scope = 'a' // one question whatever its inputs, which are left out
)

// appendKey writes a question as it is remembered and shared: every field that can change
// the answer of legs 1 to 3, each with its length, so that no two questions have one key.
//
// Two fields are left out, because they are held against each answer at every use: Tokens,
// which leg 0 answers by itself, and AtLeast. It reports false, and no key, for inputs of
// a kind that no question has. It does not allocate while dst has room.
func appendKey(dst []byte, s scope, q *Question, subject *Subject) ([]byte, bool) {
	dst = append(dst, byte(s))
	dst = append(dst, subject.key...)
	dst = binary.AppendUvarint(dst, uint64(q.Stage))
	dst = appendString(dst, q.Operation)
	dst = appendString(dst, q.Permission)
	dst = appendString(dst, q.Barred)
	dst = binary.AppendUvarint(dst, uint64(len(q.Resources)))
	for _, r := range q.Resources {
		dst = appendRef(dst, r)
	}
	dst = appendRef(dst, q.Account)
	if s == anyInputs {
		return dst, true
	}
	return appendInputs(dst, q.Inputs)
}

// appendSubject writes who asks: lineage with what is attenuated, principal, authority.
func appendSubject(dst []byte, s *Subject) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.lineage)))
	for _, m := range s.lineage {
		dst = appendFlag(appendRef(dst, m.Agent), m.Attenuated)
	}
	return appendFlag(appendRef(dst, s.principal), s.ownAuthority)
}

func appendInputs(dst []byte, inputs map[string]any) ([]byte, bool) {
	if len(inputs) > MaxInputs {
		return dst, false
	}
	var sorted [MaxInputs]string
	names := sorted[:0]
	for name := range inputs {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, name := range names {
		dst = appendString(dst, name)
		switch v := inputs[name].(type) {
		case string:
			dst = appendString(append(dst, 's'), v)
		case int64:
			dst = binary.BigEndian.AppendUint64(append(dst, 'i'), uint64(v))
		case bool:
			dst = appendFlag(append(dst, 'b'), v)
		case []string:
			dst = binary.AppendUvarint(append(dst, 'l'), uint64(len(v)))
			for _, s := range v {
				dst = appendString(dst, s)
			}
		default:
			return dst, false
		}
	}
	return dst, true
}

func appendRef(dst []byte, r agentid.Ref) []byte {
	return appendString(appendString(appendString(dst, r.Type()), r.Tenant()), r.Name())
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFlag(dst []byte, set bool) []byte {
	if set {
		return append(dst, 1)
	}
	return append(dst, 0)
}
