package policy_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
)

// source reads a question out of fuzzed bytes; at their end it reads zeros.
type source struct{ data []byte }

func (s *source) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

// text is short and of few letters, with the bytes that a key is made of among them: where
// a key could be read in two ways, it is.
func (s *source) text() string {
	const letters = "ab\x00\x01\x02xils"
	out := make([]byte, int(s.next())%4)
	for i := range out {
		out[i] = letters[int(s.next())%len(letters)]
	}
	return string(out)
}

func (s *source) ref() agentid.Ref {
	pick := func(from ...string) string { return from[int(s.next())%len(from)] }
	if s.next()%8 == 0 {
		return agentid.Ref{}
	}
	return policytest.Must(agentid.ResourceRef(pick("typ", "type", "typea"), pick("a", "b", "ab"), pick("a", "b", "ab", "ba")))
}

func (s *source) refs() []agentid.Ref {
	var out []agentid.Ref
	for range s.next() % 3 {
		out = append(out, s.ref())
	}
	return out
}

func (s *source) value() any {
	switch s.next() % 4 {
	case 0:
		return s.text()
	case 1:
		return int64(int8(s.next()))
	case 2:
		return s.next()%2 == 0
	default:
		list := []string{}
		for range s.next() % 3 {
			list = append(list, s.text())
		}
		return list
	}
}

func (s *source) question() (policy.Question, policy.Holder) {
	var h policy.Holder
	for range s.next() % 3 {
		h.Lineage = append(h.Lineage, policy.Member{Agent: s.ref(), Attenuated: s.next()%2 == 0})
	}
	h.Principal, h.OwnAuthority = s.ref(), s.next()%2 == 0
	q := policy.Question{
		Stage: policy.Stage(s.next() % 4), Operation: s.text(), Permission: s.text(), Barred: s.text(),
		Resources: s.refs(), Account: s.ref(), Inputs: map[string]any{},
	}
	for range s.next() % 4 {
		q.Inputs[s.text()] = s.value()
	}
	return q, h
}

// FuzzKeyIsInjective: two questions have one key if and only if they are the same, tokens
// and zookie aside, which are held against each answer at every use.
func FuzzKeyIsInjective(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte("some question"), []byte("some questiom"))
	f.Add(bytes.Repeat([]byte{3, 1, 2, 9, 40, 7}, 20), bytes.Repeat([]byte{3, 1, 2, 9, 41, 7}, 20))
	f.Add([]byte{1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 2, 1, 0, 1, 1, 1, 2, 2, 1, 4}, []byte{1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 2, 1, 0, 1, 1, 1, 2, 2, 1, 5})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a, holderA := (&source{one}).question()
		b, holderB := (&source{two}).question()
		keyA, okA := policy.KeyOf(a, holderA)
		keyB, okB := policy.KeyOf(b, holderB)
		require.True(t, okA && okB)
		same := reflect.DeepEqual(a, b) && reflect.DeepEqual(holderA, holderB)
		require.Equal(t, same, bytes.Equal(keyA, keyB), "%#v %#v\n%#v %#v", a, holderA, b, holderB)
		again, _ := policy.KeyOf(a, holderA)
		require.Equal(t, keyA, again, "the order of a map says nothing")
	})
}

// TestKeysOfWhatIsNoQuestion: inputs of a kind that no question has have no key.
func TestKeysOfWhatIsNoQuestion(t *testing.T) {
	for _, v := range []any{1.5, 42, nil, []any{"x"}, map[string]any{}, []byte("x"), uint64(1)} {
		_, ok := policy.KeyOf(policy.Question{Inputs: map[string]any{"a": v}}, policy.Holder{})
		require.False(t, ok, "%T", v)
	}
	many := map[string]any{}
	for i := range policy.MaxInputs + 1 {
		many[string(rune('a'+i))] = true
	}
	_, ok := policy.KeyOf(policy.Question{Inputs: many}, policy.Holder{})
	require.False(t, ok)
}

// TestKeysOfManyQuestions holds each of many random questions against all before it.
func TestKeysOfManyQuestions(t *testing.T) {
	type asked struct {
		q policy.Question
		h policy.Holder
	}
	random := rand.New(rand.NewPCG(1, 2))
	by := map[string]asked{}
	again := 0
	for range 30_000 {
		data := make([]byte, random.IntN(16))
		for i := range data {
			data[i] = byte(random.UintN(256))
		}
		q, h := (&source{data}).question()
		key, ok := policy.KeyOf(q, h)
		require.True(t, ok)
		if had, ok := by[string(key)]; ok {
			again++
			require.Equal(t, had, asked{q, h})
		}
		by[string(key)] = asked{q, h}
	}
	require.Positive(t, again, "some are asked twice")
}
