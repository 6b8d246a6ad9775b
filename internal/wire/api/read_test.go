package api_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

func word(t *rapid.T) string {
	return rapid.OneOf(rapid.Just(""), rapid.StringN(0, 12, 40), rapid.SampledFrom([]string{"a<b>&c", "\u2028", `"\`, "line\nbreak"})).Draw(t, "word")
}

func anInstant(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
}

func aRecord(t *rapid.T) auditlog.Record {
	if rapid.Bool().Draw(t, "named") {
		var r auditlog.Record
		r.Decision, r.Time = auditlog.Allow, anInstant(t)
		r.Name(auditlog.NewNamed("acme", "principal:acme/p", "agent:acme/a", "agent_type:acme/t", []string{"agent:acme/a"}))
		if rapid.Bool().Draw(t, "renamed") {
			r.Agent = "agent:acme/b"
		}
		return r
	}
	r := auditlog.Record{
		ID: word(t), Time: anInstant(t), Kind: auditlog.Kind(word(t)), Phase: auditlog.Phase(word(t)), Request: word(t), Tenant: word(t),
		Principal: word(t), Agent: word(t), AgentType: word(t), Operation: word(t), Resource: word(t), InputsDigest: word(t), Token: word(t),
		PolicyVersion: word(t), Zookie: agentid.Zookie(word(t)), Epoch: agentid.Epoch(rapid.Int64Range(0, 1<<40).Draw(t, "epoch")),
		Decision: auditlog.Decision(rapid.IntRange(0, 1).Draw(t, "decision")), Reason: word(t), Field: word(t),
		UpstreamStatus: rapid.IntRange(0, 599).Draw(t, "status"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		r.Lineage = append(r.Lineage, word(t))
		r.Legs = append(r.Legs, auditlog.Leg{Name: word(t), Outcome: word(t)})
		r.Constraints = append(r.Constraints, auditlog.Outcome{Field: word(t), Kind: word(t), Outcome: word(t)})
		if r.Notes == nil {
			r.Notes = map[string]string{}
		}
		r.Notes[rapid.StringMatching(`[a-z]{1,6}`).Draw(t, "note")] = word(t)
	}
	return r
}

func anEffect(t *rapid.T) api.Effect {
	ref := rapid.SampledFrom([]string{"", "token:acme/t1", "agent:acme/a"})
	var token, agent agentid.Ref
	require.NoError(t, token.UnmarshalText([]byte(ref.Draw(t, "ref"))))
	require.NoError(t, agent.UnmarshalText([]byte(ref.Draw(t, "ref"))))
	if rapid.Bool().Draw(t, "settle") {
		return api.Effect{Settle: &wire.Settlement{ID: word(t), Outcome: wire.Outcome(rapid.IntRange(0, 3).Draw(t, "outcome")), Record: aRecord(t)}}
	}
	r := wire.Reserve{
		Token: token, Agent: agent, IdempotencyKey: word(t), RequestDigest: word(t), HoldKey: word(t),
		HoldAmount: rapid.Int64Range(-1<<53, 1<<53).Draw(t, "amount"), Record: aRecord(t), Deadline: anInstant(t),
	}
	for range rapid.IntRange(0, 2).Draw(t, "uses") {
		r.Uses = append(r.Uses, wire.Use{Token: token, Capability: word(t), Max: rapid.Int64Range(0, 1<<53).Draw(t, "max")})
	}
	return api.Effect{Reserve: &r}
}

// TestWhatIsReadFromTheTreeIsWhatEncodingJSONReads.
func TestWhatIsReadFromTheTreeIsWhatEncodingJSONReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := api.Effects{Calls: rapid.SliceOfN(rapid.Custom(anEffect), 0, 3).Draw(t, "calls")}
		batch := api.Batch{Durable: rapid.Bool().Draw(t, "durable"), Records: rapid.SliceOfN(rapid.Custom(aRecord), 0, 3).Draw(t, "records")}
		var got, want api.Effects
		both(t, in, &got, &want)
		require.Equal(t, want, got)
		var gotBatch, wantBatch api.Batch
		both(t, batch, &gotBatch, &wantBatch)
		require.Equal(t, wantBatch, gotBatch)
	})
}

func both(t *rapid.T, in, got, want any) {
	data, err := json.Marshal(in)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(want))
	require.NoError(t, api.Decode(data, api.MaxRequest, got))
	ours, err := api.Encode(in)
	require.NoError(t, err)
	again := reflect.New(reflect.TypeOf(got).Elem()).Interface()
	require.NoError(t, api.Decode(ours, api.MaxRequest, again))
	require.Equal(t, want, again, "%s", ours)
}

// TestBodiesOfOperationsAreReadStrictly: whatever is not exactly what is meant refuses the
// whole body and names the place.
func TestBodiesOfOperationsAreReadStrictly(t *testing.T) {
	const whole = `{"calls":[{"reserve":{"token":"token:acme/t","agent":"agent:acme/a","uses":[{"token":"token:acme/t","capability":"c","max":1}],` +
		`"hold_amount":5,"deadline":"2030-01-01T00:00:00Z","record":{"id":"x","time":"2030-01-01T00:00:00Z","kind":"operation","lineage":["a"],` +
		`"legs":[{"name":"n","outcome":"o"}],"constraints":[{"field":"f","kind":"k","outcome":"o"}],"epoch":1,"decision":"allow","notes":{"a":"b"}}}},` +
		`{"settle":{"id":"r1","outcome":"done","record":{"decision":"deny"}}}]}`
	var in api.Effects
	require.NoError(t, api.Decode([]byte(whole), api.MaxRequest, &in))
	require.Equal(t, auditlog.Allow, in.Calls[0].Reserve.Record.Decision)
	require.Equal(t, wire.Done, in.Calls[1].Settle.Outcome)
	for change, field := range map[string]string{
		`"calls":[→"more":1,"calls":[`:                             "more",
		`{"reserve":→{"other":{},"reserve":`:                       "calls.other",
		`"token":"token:acme/t","agent"→"token":"token:*","agent"`: "calls.reserve.token",
		`"agent":"agent:acme/a"→"agent":7`:                         "calls.reserve.agent",
		`"max":1→"max":1.5`:                                        "calls.reserve.uses.max",
		`"max":1→"max":1,"min":1`:                                  "calls.reserve.uses.min",
		`"hold_amount":5→"hold_amount":"5"`:                        "calls.reserve.hold_amount",
		`"hold_amount":5→"hold_amount":9007199254740994`:           "calls.reserve.hold_amount",
		`"deadline":"2030-01-01T00:00:00Z"→"deadline":"today"`:     "calls.reserve.deadline",
		`"kind":"operation"→"kind":1`:                              "calls.reserve.record.kind",
		`"id":"x"→"id":"x","seq":4`:                                "calls.reserve.record.seq",
		`"lineage":["a"]→"lineage":"a"`:                            "calls.reserve.record.lineage",
		`"lineage":["a"]→"lineage":[null]`:                         "calls.reserve.record.lineage",
		`"name":"n"→"name":{}`:                                     "calls.reserve.record.legs.name",
		`"field":"f"→"field":true`:                                 "calls.reserve.record.constraints.field",
		`"epoch":1→"epoch":true`:                                   "calls.reserve.record.epoch",
		`"decision":"allow"→"decision":1`:                          "calls.reserve.record.decision",
		`{"a":"b"}→{"a":1}`:                                        "calls.reserve.record.notes.a",
		`{"a":"b"}→["a"]`:                                          "calls.reserve.record.notes",
		`"outcome":"done"→"outcome":1`:                             "calls.settle.outcome",
	} {
		from, to, _ := strings.Cut(change, "→")
		bad := strings.Replace(whole, from, to, 1)
		require.NotEqual(t, whole, bad, change)
		err := api.Decode([]byte(bad), api.MaxRequest, new(api.Effects))
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "%s: %v", change, err)
		require.Equal(t, field, agentid.AsError(err).Field, change)
	}
	require.Error(t, api.Decode([]byte(`{"durable":1}`), api.MaxRequest, new(api.Batch)))
	require.Error(t, api.Decode([]byte(`{"records":[1]}`), api.MaxRequest, new(api.Batch)))
	require.Error(t, api.Decode([]byte(`{"record":[]}`), api.MaxRequest, new(api.Batch)))
	require.Error(t, api.Decode([]byte(`{"calls":null}`), api.MaxRequest, new(api.Effects)))
}
