package freshness_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/boottime"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

func must(ref agentid.Ref, err error) agentid.Ref {
	if err != nil {
		panic(err)
	}
	return ref
}

var (
	tenant    = must(agentid.TenantRef("acme"))
	other     = must(agentid.TenantRef("globex"))
	leaf      = must(agentid.AgentRef("acme", "leaf"))
	root      = must(agentid.AgentRef("acme", "root"))
	stranger  = must(agentid.AgentRef("acme", "stranger"))
	token     = must(agentid.TokenRef("acme", "jti-1"))
	principal = must(agentid.PrincipalRef("acme", "alice"))
	agentType = must(agentid.AgentTypeRef("acme", "refund-agent"))
	connector = must(agentid.ConnectorRef("acme", "stripe"))
	all       = []agentid.Ref{tenant, leaf, root, token, principal, agentType, connector}
)

// clock is a boot clock that a test moves.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Duration       { return time.Duration(c.at.Load()) }
func (c *clock) advance(by time.Duration) { c.at.Add(int64(by)) }

// warm is a View with a State in force and a lease of ten seconds.
func warm(t *testing.T, edit ...func(*freshness.Config)) (*freshness.View, *clock) {
	t.Helper()
	c := &clock{}
	cfg := freshness.Config{BootTime: c.now}
	for _, e := range edit {
		e(&cfg)
	}
	v := freshness.New(cfg)
	require.NoError(t, v.Reset(wire.State{Seq: 1, Epoch: 3, Floor: "z1", Incarnation: "i1"}))
	v.Extend(10 * time.Second)
	require.True(t, v.Warm())
	return v, c
}

// stream numbers the events that it applies.
type stream struct {
	t   *testing.T
	v   *freshness.View
	seq uint64
}

func (s *stream) apply(e wire.Event) wire.Applied {
	s.t.Helper()
	s.seq++
	e.Seq = s.seq
	out, err := s.v.Apply(e)
	require.NoError(s.t, err)
	return out
}

func deny(refs ...agentid.Ref) wire.Event {
	e := wire.Event{Kind: wire.EventDeny, Epoch: 4}
	for _, r := range refs {
		e.Denials = append(e.Denials, wire.Denial{Target: r, Epoch: 4})
	}
	return e
}

// TestColdVouchesForNothing: before a State, after the lease, after a gap.
func TestColdVouchesForNothing(t *testing.T) {
	fresh := freshness.New(freshness.Config{})
	require.False(t, fresh.Warm())
	require.False(t, fresh.Mark(fresh.Rests(all)).Warm)
	_, known := fresh.Floor()
	require.False(t, known)
	fresh.Extend(boottime.Now() + time.Hour)
	require.False(t, fresh.Warm(), "a lease without a state")
	_, err := fresh.Apply(wire.Event{Seq: 1, Kind: wire.EventChanged})
	require.Equal(t, "stream_gap", agentid.ReasonOf(err))

	v, c := warm(t)
	on := v.Rests(all)
	m := v.Mark(on)
	require.True(t, m.Warm)
	require.False(t, v.Moved(on, m))
	c.advance(10 * time.Second)
	require.False(t, v.Warm(), "the lease has lapsed")
	require.True(t, v.Moved(on, m), "an answer from before the sleep")
	require.False(t, v.Mark(on).Warm)
	v.Extend(5 * time.Second)
	require.False(t, v.Warm(), "an older lease")
	v.Extend(20 * time.Second)
	require.True(t, v.Warm())
	require.True(t, v.Moved(on, m), "of the lease before")
	v.Drop()
	require.False(t, v.Warm())
	v.Extend(30 * time.Second)
	require.False(t, v.Warm(), "a lease without a new state")
	require.NoError(t, v.Reset(wire.State{Seq: 9, Incarnation: "i1"}))
	require.True(t, v.Warm())
}

// TestStandingHasNoLease: in the broker's own process.
func TestStandingHasNoLease(t *testing.T) {
	v, c := warm(t)
	v.Standing()
	on := v.Rests(all)
	m := v.Mark(on)
	c.advance(time.Hour)
	require.True(t, v.Warm())
	require.False(t, v.Moved(on, m))
	v.Drop()
	require.False(t, v.Warm())
	require.True(t, v.Moved(on, m))
}

// TestColdDecisionsAge: one made without trust is not used after a sleep either.
func TestColdDecisionsAge(t *testing.T) {
	c := &clock{}
	v := freshness.New(freshness.Config{BootTime: c.now})
	on := v.Rests(all)
	m := v.Mark(on)
	require.False(t, v.Moved(on, m))
	c.advance(freshness.ColdAge)
	require.True(t, v.Moved(on, m))
}

// TestGenerations: what an event raises moves what rests on it, and nothing else.
func TestGenerations(t *testing.T) {
	type view struct{ leaf, stranger, globex bool } // moved?
	cases := map[string]struct {
		event wire.Event
		want  view
	}{
		"an agent":          {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{leaf}}, view{leaf: true}},
		"an ancestor":       {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{root}}, view{leaf: true}},
		"a token":           {wire.Event{Kind: wire.EventSettled, Raise: []agentid.Ref{token}}, view{leaf: true}},
		"another agent":     {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{stranger}}, view{stranger: true}},
		"the tenant":        {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{tenant}}, view{leaf: true, stranger: true}},
		"another tenant":    {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{other}}, view{globex: true}},
		"a principal":       {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{principal}}, view{leaf: true, stranger: true}},
		"all":               {wire.Event{Kind: wire.EventChanged, All: true}, view{leaf: true, stranger: true, globex: true}},
		"nothing":           {wire.Event{Kind: wire.EventChanged, Zookie: "z2"}, view{}},
		"a denied agent":    {deny(root), view{leaf: true}},
		"a denied token":    {deny(token), view{leaf: true}},
		"a denied type":     {deny(agentType), view{leaf: true, stranger: true}},
		"a denied tenant":   {deny(tenant), view{leaf: true, stranger: true}},
		"a connector":       {deny(connector), view{leaf: true, stranger: true}},
		"an unknown target": {deny(must(agentid.AgentRef("globex", "x"))), view{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			v, _ := warm(t)
			on := v.Rests(all)
			they := v.Rests([]agentid.Ref{tenant, stranger})
			far := v.Rests([]agentid.Ref{other})
			a, b, z := v.Mark(on), v.Mark(they), v.Mark(far)
			(&stream{t, v, 1}).apply(c.event)
			require.Equal(t, c.want, view{v.Moved(on, a), v.Moved(they, b), v.Moved(far, z)})
			require.False(t, v.Moved(on, v.Mark(on)), "what is asked afterwards is good")
		})
	}
}

// TestDenySet: a denial stands from the event until the graph upholds it; a token's until
// it has expired.
func TestDenySet(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	v, _ := warm(t, func(c *freshness.Config) { c.Now = func() time.Time { return now } })
	s := &stream{t, v, 1}
	on := v.Rests(all)
	_, is := v.Denied(on, all)
	require.False(t, is)
	for _, target := range all {
		s.apply(deny(target))
		got, is := v.Denied(on, all)
		require.True(t, is)
		require.Equal(t, target, got)
		s.apply(wire.Event{Kind: wire.EventSettled, Epoch: 3, Lift: []agentid.Ref{target}})
		_, is = v.Denied(on, all)
		require.True(t, is, "an older epoch lifts nothing")
		s.apply(wire.Event{Kind: wire.EventSettled, Epoch: 4, Lift: []agentid.Ref{target}, Zookie: "z4"})
		got, is = v.Denied(on, all)
		if target == token {
			require.Equal(t, token, got, "a token is never lifted")
			require.NoError(t, v.Reset(wire.State{Seq: s.seq, Incarnation: "i1"}))
			continue
		}
		require.False(t, is, target.String())
	}
	require.Zero(t, v.Denials())
	// Revoked tokens are forgotten some time after they have expired.
	for i := range 5000 {
		e := deny(must(agentid.TokenRef("acme", "t"+strconv.Itoa(i))))
		e.Denials[0].Until = now.Add(time.Minute)
		s.apply(e)
		now = now.Add(time.Second)
	}
	require.Less(t, v.Denials(), 3000)
}

// TestTokenRevokedByAnotherWay: a write to its edge is a denial too.
func TestTokenRevokedByAnotherWay(t *testing.T) {
	v, _ := warm(t)
	(&stream{t, v, 1}).apply(wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{token, leaf}})
	got, is := v.Denied(v.Rests(all), all)
	require.True(t, is)
	require.Equal(t, token, got)
}

// TestEventsAreInOrder: a repeated one does nothing, a gap and an unknown kind make the
// View cold.
func TestEventsAreInOrder(t *testing.T) {
	v, _ := warm(t)
	s := &stream{t, v, 1}
	s.apply(deny(leaf))
	s.apply(wire.Event{Kind: wire.EventSettled, Epoch: 4, Lift: []agentid.Ref{leaf}})
	repeated := deny(leaf)
	repeated.Seq = 2
	_, err := v.Apply(repeated)
	require.NoError(t, err)
	require.Zero(t, v.Denials(), "it was lifted since")
	_, err = v.Apply(wire.Event{Seq: 5, Kind: wire.EventChanged})
	require.Equal(t, "stream_gap", agentid.ReasonOf(err))
	require.False(t, v.Warm())

	v, _ = warm(t)
	_, err = v.Apply(wire.Event{Seq: 2})
	require.Error(t, err)
	require.False(t, v.Warm())
	require.Error(t, v.Reset(wire.State{}), "no incarnation")
}

// TestSettingsAreReadBeforeTheAcknowledgement, and what cannot be read is begun again.
func TestSettingsAreReadBeforeTheAcknowledgement(t *testing.T) {
	var read int
	var fail error
	v, _ := warm(t, func(c *freshness.Config) { c.Settings = func() error { read++; return fail } })
	(&stream{t, v, 1}).apply(wire.Event{Kind: wire.EventSettings})
	require.Equal(t, 1, read)
	fail = context.DeadlineExceeded
	_, err := v.Apply(wire.Event{Seq: 3, Kind: wire.EventSettings})
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	require.False(t, v.Warm())
}

// TestFloorRises: with the newest epoch, and the revision that was settled last.
func TestFloorRises(t *testing.T) {
	v, _ := warm(t)
	f, ok := v.Floor()
	require.True(t, ok)
	require.Equal(t, freshness.Floor{Zookie: "z1", Epoch: 3, Incarnation: "i1"}, f)
	(&stream{t, v, 1}).apply(wire.Event{Kind: wire.EventSettled, Epoch: 7, Zookie: "z7"})
	f, _ = v.Floor()
	require.Equal(t, freshness.Floor{Zookie: "z7", Epoch: 7, Incarnation: "i1"}, f)
	require.EqualValues(t, "z7", v.Applied())
}

// TestUnderWay: what rests on the denied is cancelled; an effect on the wire is named, and
// what is not sent yet must not be.
func TestUnderWay(t *testing.T) {
	v, _ := warm(t)
	s := &stream{t, v, 1}
	begin := func(id string, effect bool, on ...agentid.Ref) (context.Context, *freshness.Operation) {
		return v.Begin(t.Context(), freshness.Flight{Request: id, On: on, Effect: effect})
	}
	waiting, w := begin("waiting", true, leaf, token)
	writing, onWire := begin("writing", true, leaf)
	require.NoError(t, onWire.Sent())
	reading, r := begin("reading", false, leaf, root)
	require.NoError(t, r.Sent())
	elsewhere, e := begin("elsewhere", false, stranger)
	names, n := v.Resting([]agentid.Ref{leaf}, 2)
	require.Len(t, names, 2)
	require.Equal(t, 3, n)

	require.Equal(t, wire.Applied{Cancelled: 2, OnWire: 1, Requests: []string{"writing"}}, s.apply(deny(leaf)))
	require.Equal(t, policy.ReasonAgentNotLive, agentid.ReasonOf(context.Cause(waiting)))
	require.Error(t, w.Sent(), "nothing goes out")
	require.NoError(t, writing.Err())
	require.Error(t, reading.Err())
	require.Equal(t, policy.ReasonAgentNotLive, agentid.ReasonOf(r.Taken()))
	require.NoError(t, elsewhere.Err())
	require.Equal(t, wire.Applied{OnWire: 1, Requests: []string{"writing"}}, s.apply(deny(leaf)), "what is cancelled is not counted twice")

	for _, op := range []*freshness.Operation{w, onWire, r} {
		op.End()
	}
	require.Equal(t, 1, v.UnderWay())
	require.NoError(t, v.Reset(wire.State{Seq: 50, Incarnation: "i1", Denials: []wire.Denial{{Target: stranger}}}))
	require.Error(t, elsewhere.Err(), "the event was missed")
	e.End()
	require.Zero(t, v.UnderWay())
}
