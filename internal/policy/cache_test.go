package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// graph counts what it is asked, and answers as a test says: yes to all by default.
type graph struct {
	asked  atomic.Int64
	checks atomic.Int64
	at     atomic.Pointer[string]
	answer func(ctx context.Context, checks []policy.Check, answers []policy.Answer) error
}

func (g *graph) CheckBulk(ctx context.Context, _ agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	g.asked.Add(1)
	g.checks.Add(int64(len(checks)))
	at := "z1"
	if z := g.at.Load(); z != nil {
		at = *z
	}
	_, answers, _ := (&yes{}).CheckBulk(ctx, "", checks)
	for i := range answers {
		answers[i].Expires = policy.Never
	}
	if g.answer != nil {
		if err := g.answer(ctx, checks, answers); err != nil {
			return "", nil, err
		}
	}
	return agentid.Zookie(at), answers, nil
}

// memory is a Decider that remembers, over a warm View in the broker's process.
type memory struct {
	t     testing.TB
	graph *graph
	view  *freshness.View
	d     *policy.Decider
	now   atomic.Pointer[time.Time]
	seq   uint64
	w     policytest.World
}

func newMemory(t testing.TB, edit ...func(*policy.Config)) *memory {
	t.Helper()
	m := &memory{t: t, graph: &graph{}, view: freshness.New(freshness.Config{}), w: world()}
	m.set(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC))
	m.view.Standing()
	require.NoError(t, m.view.Reset(wire.State{Incarnation: "i1"}))
	cfg := policy.Config{Checker: m.graph, Fresh: m.view, Now: func() time.Time { return *m.now.Load() }}
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	m.d, err = policy.New(cfg)
	require.NoError(t, err)
	return m
}

func (m *memory) set(at time.Time)         { m.now.Store(&at) }
func (m *memory) advance(by time.Duration) { m.set(m.now.Load().Add(by)) }

func (m *memory) apply(e wire.Event) {
	m.t.Helper()
	m.seq++
	e.Seq = m.seq
	_, err := m.view.Apply(e)
	require.NoError(m.t, err)
}

// ask decides on q and tells whether the graph was asked.
func (m *memory) ask(q policy.Question) (asked bool, a policy.Allowed, err error) {
	before := m.graph.asked.Load()
	a, err = m.d.Decide(m.t.Context(), q)
	return m.graph.asked.Load() > before, a, err
}

// warm decides and wants a yes, from memory or from the graph.
func (m *memory) allow(q policy.Question, fromMemory bool) policy.Allowed {
	m.t.Helper()
	asked, a, err := m.ask(q)
	require.NoError(m.t, err)
	require.True(m.t, a.Valid())
	require.Equal(m.t, fromMemory, !asked, "from memory")
	return a
}

func (m *memory) subject(q policy.Question, expiry time.Time) policy.Question {
	m.t.Helper()
	s, err := m.d.Subject(policy.Holder{Lineage: q.Lineage, Principal: q.Principal, OwnAuthority: q.OwnAuthority, Tokens: q.Tokens, Expiry: expiry})
	require.NoError(m.t, err)
	q.Subject, q.Lineage, q.Principal, q.OwnAuthority, q.Tokens = s, nil, agentid.Ref{}, false, nil
	return q
}

// TestRemembered: what was asked is not asked again, whichever token of the agent asks; the
// legs are the same, leg 0 from the deny set.
func TestRemembered(t *testing.T) {
	m := newMemory(t)
	q := m.w.Question()
	first := m.allow(q, false)
	require.Equal(t, first.Legs(), m.allow(q, true).Legs())
	require.Equal(t, policy.Leg{Name: policy.LegRevoked, Outcome: policy.OutcomeNo}, first.Legs()[0])
	other := q
	other.Tokens = []agentid.Ref{policytest.Must(agentid.TokenRef("acme", "jti-2"))}
	require.True(t, m.allow(other, true).Covers(q.Operation, q.Resources[0]))
	live := policy.Question{Stage: policy.StageLive, Lineage: q.Lineage, Principal: q.Principal, Tokens: q.Tokens}
	m.allow(live, false)
	m.allow(live, true)
	require.EqualValues(t, 3, m.d.Stats().Hits)
	require.EqualValues(t, 2, m.d.Stats().Misses)
}

// TestAskedOnce: on a clock that runs, one question is asked of the graph once.
func TestAskedOnce(t *testing.T) {
	m := newMemory(t, func(c *policy.Config) { c.Now = time.Now })
	m.allow(m.w.Question(), false)
	m.allow(m.w.Question(), true)
	require.EqualValues(t, 1, m.graph.asked.Load())
}

// TestEveryFieldCounts: a question that differs in one field is another question.
func TestEveryFieldCounts(t *testing.T) {
	changes := map[string]func(*policy.Question){
		"another leaf":           func(q *policy.Question) { q.Lineage[0].Agent = agent("other") },
		"attenuated":             func(q *policy.Question) { q.Lineage[1].Attenuated = true },
		"fewer ancestors":        func(q *policy.Question) { q.Lineage = q.Lineage[:1] },
		"another principal":      func(q *policy.Question) { q.Principal = policytest.Must(agentid.PrincipalRef("acme", "bob")) },
		"own authority":          func(q *policy.Question) { q.OwnAuthority = true },
		"another operation":      func(q *policy.Question) { q.Operation = "payments:other" },
		"another permission":     func(q *policy.Question) { q.Permission = "read" },
		"no bar":                 func(q *policy.Question) { q.Barred = "" },
		"another resource":       func(q *policy.Question) { q.Resources = q.Resources[1:] },
		"resources in order":     func(q *policy.Question) { q.Resources = []agentid.Ref{q.Resources[1], q.Resources[0]} },
		"another account":        func(q *policy.Question) { q.Account = q.Resources[0] },
		"another amount":         func(q *policy.Question) { q.Inputs = map[string]any{"amount": int64(4201), "currency": "usd"} },
		"the amount as a string": func(q *policy.Question) { q.Inputs = map[string]any{"amount": "4200", "currency": "usd"} },
		"another name":           func(q *policy.Question) { q.Inputs = map[string]any{"amounts": int64(4200), "currency": "usd"} },
		"a list of one": func(q *policy.Question) {
			q.Inputs = map[string]any{"amount": int64(4200), "currency": []string{"usd"}}
		},
		"no inputs": func(q *policy.Question) { q.Inputs = nil },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			q := m.w.Question()
			m.allow(q, false)
			m.allow(q, true)
			change(&q)
			asked, _, err := m.ask(q)
			require.NoError(t, err)
			require.True(t, asked)
		})
	}
}

// TestNeverStored: errors, a no, conditions left open, depth exceeded and cancelled work.
func TestNeverStored(t *testing.T) {
	verdict := func(v policy.Verdict) func(context.Context, []policy.Check, []policy.Answer) error {
		return func(_ context.Context, checks []policy.Check, answers []policy.Answer) error {
			for i, c := range checks {
				if c.Permission == schema.PaymentsRefund {
					answers[i].Verdict = v
				}
			}
			return nil
		}
	}
	for name, answer := range map[string]func(context.Context, []policy.Check, []policy.Answer) error{
		"a no":              verdict(policy.VerdictNo),
		"a condition":       verdict(policy.VerdictConditional),
		"an unknown answer": verdict(9),
		"an error":          func(context.Context, []policy.Check, []policy.Answer) error { return errors.New("connection refused") },
		"one item's error": func(_ context.Context, _ []policy.Check, a []policy.Answer) error {
			a[1].Err = errors.New("max depth exceeded")
			return nil
		},
		"cancelled work": func(context.Context, []policy.Check, []policy.Answer) error { return context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			m.graph.answer = answer
			for range 2 {
				asked, a, err := m.ask(m.w.Question())
				require.Error(t, err)
				require.False(t, a.Valid())
				require.True(t, asked, "it is asked each time")
			}
			m.graph.answer = nil
			m.allow(m.w.Question(), false)
		})
	}
}

// TestGenerationsEndAnswers: whatever an answer rests on, its change ends it; what it does
// not rest on does not.
func TestGenerationsEndAnswers(t *testing.T) {
	tenant := policytest.Must(agentid.TenantRef("acme"))
	globex := policytest.Must(agentid.TenantRef("globex"))
	for name, c := range map[string]struct {
		event wire.Event
		ends  bool
	}{
		"the leaf":       {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{agent("leaf")}}, true},
		"an ancestor":    {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{agent("root")}}, true},
		"the tenant":     {wire.Event{Kind: wire.EventSettled, Raise: []agentid.Ref{tenant}}, true},
		"all":            {wire.Event{Kind: wire.EventChanged, All: true}, true},
		"another agent":  {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{agent("new")}}, false},
		"another tenant": {wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{globex}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			a := m.allow(m.w.Question(), false)
			require.NoError(t, a.StillGood(*m.now.Load()))
			m.apply(c.event)
			m.allow(m.w.Question(), !c.ends)
			if c.ends {
				require.Equal(t, policy.ReasonDecisionExpired, agentid.ReasonOf(a.StillGood(*m.now.Load())))
			} else {
				require.NoError(t, a.StillGood(*m.now.Load()))
			}
		})
	}
}

// TestMovedMeanwhileIsNotStored: an answer that was being computed when something moved is
// given to nobody who comes later.
func TestMovedMeanwhileIsNotStored(t *testing.T) {
	m := newMemory(t)
	m.graph.answer = func(context.Context, []policy.Check, []policy.Answer) error {
		if m.graph.asked.Load() == 1 {
			m.apply(wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{agent("root")}})
		}
		return nil
	}
	a := m.allow(m.w.Question(), false)
	require.Error(t, a.StillGood(*m.now.Load()), "it may be of before")
	m.allow(m.w.Question(), false)
	m.allow(m.w.Question(), true)
}

// TestDeniedIsRefused: from the event on, without asking; leg 0 is the token's own.
func TestDeniedIsRefused(t *testing.T) {
	for _, c := range []struct {
		target agentid.Ref
		reason string
	}{
		{policytest.Must(agentid.TokenRef("acme", "jti-1")), policy.ReasonTokenRevoked},
		{agent("leaf"), policy.ReasonAgentNotLive},
		{agent("root"), policy.ReasonAgentNotLive},
		{policytest.Must(agentid.PrincipalRef("acme", "alice")), policy.ReasonAgentNotLive},
		{policytest.Must(agentid.TenantRef("acme")), policy.ReasonAgentNotLive},
		{policytest.Must(agentid.AgentTypeRef("acme", "refund-agent")), policy.ReasonAgentNotLive},
		{policytest.Must(agentid.ConnectorRef("acme", "stripe")), policy.ReasonAccountInactive},
	} {
		t.Run(c.target.String(), func(t *testing.T) {
			m := newMemory(t)
			plain := m.w.Question()
			s, err := m.d.Subject(policy.Holder{
				Lineage: plain.Lineage, Principal: plain.Principal, Tokens: plain.Tokens,
				Also: []agentid.Ref{policytest.Must(agentid.AgentTypeRef("acme", "refund-agent")), policytest.Must(agentid.ConnectorRef("acme", "stripe"))},
			})
			require.NoError(t, err)
			q := plain
			q.Subject, q.Lineage, q.Principal, q.Tokens = s, nil, agentid.Ref{}, nil
			held := m.allow(q, false)
			m.allow(q, true)
			m.apply(wire.Event{Kind: wire.EventDeny, Epoch: 1, Denials: []wire.Denial{{Target: c.target, Epoch: 1}}})
			asked, a, err := m.ask(q)
			require.False(t, asked)
			require.False(t, a.Valid())
			require.Equal(t, c.reason, agentid.ReasonOf(err))
			require.Error(t, held.StillGood(*m.now.Load()))
			if c.target.Type() == agentid.TypeToken {
				plain.Tokens = []agentid.Ref{policytest.Must(agentid.TokenRef("acme", "jti-2"))}
				m.allow(plain, true)
				return
			}
			m.apply(wire.Event{Kind: wire.EventSettled, Epoch: 1, Lift: []agentid.Ref{c.target}, Raise: []agentid.Ref{c.target}, Zookie: "z2"})
			asked, _, err = m.ask(q)
			require.NoError(t, err)
			require.True(t, asked, "the graph says so from here on")
		})
	}
}

// TestLifetimes: an answer ends with the token, with the first relationship that expires,
// soon where expiry is not known, and after a minute in any case.
func TestLifetimes(t *testing.T) {
	start := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	expires := func(at time.Time) func(*memory) {
		return func(m *memory) {
			m.graph.answer = func(_ context.Context, _ []policy.Check, a []policy.Answer) error {
				a[len(a)-1].Expires = at
				return nil
			}
		}
	}
	for name, c := range map[string]struct {
		token time.Time
		setup func(*memory)
		life  time.Duration
	}{
		"nothing expires":        {time.Time{}, expires(policy.Never), policy.MaxLife},
		"a relationship":         {time.Time{}, expires(start.Add(7 * time.Second)), 7 * time.Second},
		"a relationship expired": {time.Time{}, expires(start.Add(-time.Second)), 0},
		"not known":              {time.Time{}, expires(time.Time{}), policy.BlindLife},
		"the token":              {start.Add(3 * time.Second), expires(policy.Never), 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			c.setup(m)
			q := m.subject(m.w.Question(), c.token)
			a := m.allow(q, false)
			if c.life > 0 {
				require.Equal(t, min(c.life, policy.DefaultMaxAge), a.Deadline().Sub(start), "an Allowed ends with it")
				m.advance(c.life - time.Millisecond)
				a = m.allow(q, true)
				require.Equal(t, time.Millisecond, a.Deadline().Sub(*m.now.Load()))
				m.advance(time.Millisecond)
			}
			m.allow(q, false)
		})
	}
}

// TestLapsedLease: without trust no remembered answer is used and leg 0 is asked too; what
// was allowed before a sleep is not used after it.
func TestLapsedLease(t *testing.T) {
	var boot atomic.Int64
	view := freshness.New(freshness.Config{BootTime: func() time.Duration { return time.Duration(boot.Load()) }})
	m := newMemory(t, func(c *policy.Config) { c.Fresh = view })
	m.view = view
	require.NoError(t, view.Reset(wire.State{Incarnation: "i1"}))
	view.Extend(2 * time.Second)
	q := m.w.Question()
	m.allow(q, false)
	held := m.allow(q, true)
	boot.Store(int64(2 * time.Second)) // the wall clock stands: the process slept
	require.Equal(t, policy.ReasonDecisionExpired, agentid.ReasonOf(held.StillGood(*m.now.Load())))
	var tokens atomic.Int64
	m.graph.answer = func(_ context.Context, checks []policy.Check, _ []policy.Answer) error {
		for _, c := range checks {
			if c.Permission == schema.TokenIsRevoked {
				tokens.Add(1)
			}
		}
		return nil
	}
	cold := m.allow(q, false)
	require.EqualValues(t, 1, tokens.Load())
	m.allow(q, false)
	require.NoError(t, cold.StillGood(*m.now.Load()))
	boot.Add(int64(freshness.ColdAge))
	require.Error(t, cold.StillGood(*m.now.Load()))
	m.graph.answer = func(context.Context, []policy.Check, []policy.Answer) error { return errors.New("down") }
	_, _, err := m.ask(q)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	m.graph.answer = nil
	view.Extend(boot0(&boot) + 2*time.Second)
	m.allow(q, true)
}

func boot0(b *atomic.Int64) time.Duration { return time.Duration(b.Load()) }

// TestClockStepsBack: what is remembered is dropped, so that nothing lives longer by it.
func TestClockStepsBack(t *testing.T) {
	m := newMemory(t)
	m.allow(m.w.Question(), false)
	m.advance(30 * time.Second)
	m.allow(m.w.Question(), true)
	m.advance(-20 * time.Second)
	m.allow(m.w.Question(), false)
	m.allow(m.w.Question(), true)
	m.advance(40 * time.Second)
	m.allow(m.w.Question(), true)
}

// TestZookieAsksForNewer: an answer serves a zookie that it is as new as, or up to which
// changes have been counted; raising it otherwise asks the graph.
func TestZookieAsksForNewer(t *testing.T) {
	m := newMemory(t)
	q := m.w.Question()
	q.AtLeast = "z1"
	m.allow(q, false)
	m.allow(q, true)
	q.AtLeast = "z2" // not known here, and not to be put in order
	m.allow(q, false)
	m.apply(wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{agent("another")}, Zookie: "z2"})
	m.allow(q, true)
	q.AtLeast = ""
	m.allow(q, true)
}

// TestNewInputsAskTheirPartOnly: legs that no input decides are not asked again.
func TestNewInputsAskTheirPartOnly(t *testing.T) {
	m := newMemory(t)
	fixed := true
	m.graph.answer = func(_ context.Context, checks []policy.Check, answers []policy.Answer) error {
		for i, c := range checks {
			inputs := c.Inputs.Values()
			agents := c.Permission == schema.PaymentsRefund && c.Subject.Type() == schema.TypeAgent
			answers[i].Fixed = fixed || !agents
			if amount, ok := inputs["amount"].(int64); ok && agents && amount > 5000 {
				answers[i].Verdict = policy.VerdictNo
			}
		}
		return nil
	}
	amount := func(n int64) policy.Question {
		q := m.w.Question()
		q.Inputs = map[string]any{"amount": n, "currency": "usd"}
		return q
	}
	m.allow(amount(1), false)
	for n := range int64(50) {
		m.allow(amount(n+2), true)
	}
	m.apply(wire.Event{Kind: wire.EventChanged, All: true})
	fixed = false
	m.allow(amount(1), false)
	before := m.graph.checks.Load()
	m.allow(amount(2), false)
	require.EqualValues(t, 2, m.graph.checks.Load()-before, "the agent, on two resources")
	m.allow(amount(2), true)
	_, _, err := m.ask(amount(5001))
	require.Equal(t, policy.ReasonPolicyDenied, agentid.ReasonOf(err))
	// A graph that moved on: the two parts may be of two policies, so all of it is asked.
	z2 := "z2"
	m.graph.at.Store(&z2)
	before = m.graph.checks.Load()
	m.allow(amount(3), false)
	require.EqualValues(t, 2+11, m.graph.checks.Load()-before)
}

// TestSingleFlight: callers who ask the same at once share one answer, and one who leaves
// takes it from nobody.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		release := make(chan struct{})
		m.graph.answer = func(ctx context.Context, _ []policy.Check, _ []policy.Answer) error {
			select {
			case <-release:
				return ctx.Err()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		leaves, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { _, err := m.d.Decide(leaves, m.w.Question()); first <- err }()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 9 {
			wg.Go(func() {
				a, err := m.d.Decide(t.Context(), m.w.Question())
				if err != nil || !a.Valid() {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		require.Error(t, <-first)
		synctest.Wait()
		require.EqualValues(t, 1, m.graph.asked.Load())
		// Something moves: who comes now does not share what was begun before.
		m.apply(wire.Event{Kind: wire.EventChanged, All: true})
		wg.Go(func() {
			if _, err := m.d.Decide(t.Context(), m.w.Question()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		require.EqualValues(t, 2, m.graph.asked.Load())
		close(release)
		wg.Wait()
	})
}

// TestAllLeft: a question that nobody waits for is given up.
func TestAllLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		var ended atomic.Bool
		m.graph.answer = func(ctx context.Context, _ []policy.Check, _ []policy.Answer) error {
			<-ctx.Done()
			ended.Store(true)
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := m.d.Decide(ctx, m.w.Question()); done <- err }()
		synctest.Wait()
		cancel()
		require.Equal(t, agentid.KindUnavailable, agentid.KindOf(<-done))
		synctest.Wait()
		require.True(t, ended.Load())
	})
}

// TestPanicIsARefusal: what breaks beneath a shared question ends nobody's process.
func TestPanicIsARefusal(t *testing.T) {
	m := newMemory(t)
	m.graph.answer = func(context.Context, []policy.Check, []policy.Answer) error { panic("broken") }
	_, a, err := m.ask(m.w.Question())
	require.False(t, a.Valid())
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
}

// TestMemoryIsBounded: by bytes, and so by entries.
func TestMemoryIsBounded(t *testing.T) {
	const most = 256 << 10
	m := newMemory(t, func(c *policy.Config) { c.Memory = most })
	for i := range 2000 {
		q := m.w.Question()
		q.Lineage[0].Agent = agent("a" + strconv.Itoa(i))
		m.allow(q, false)
	}
	m.d.Settle()
	stats := m.d.Stats()
	require.LessOrEqual(t, stats.Bytes, uint64(most))
	require.Positive(t, stats.Kept)
	require.Less(t, stats.Kept, most/512)
}

// TestNothingRemembered: where the configuration says so.
func TestNothingRemembered(t *testing.T) {
	m := newMemory(t, func(c *policy.Config) { c.Memory = -1 })
	m.allow(m.w.Question(), false)
	m.allow(m.w.Question(), false)
}

// TestSubjectsAreOfOneDecider: one of another decider, and one beside the fields that it
// stands for, are refused.
func TestSubjectsAreOfOneDecider(t *testing.T) {
	m, other := newMemory(t), newMemory(t)
	q := m.subject(m.w.Question(), time.Time{})
	m.allow(q, false)
	_, err := other.d.Decide(t.Context(), q)
	require.Error(t, err)
	both := q
	both.Tokens = m.w.Question().Tokens
	_, err = m.d.Decide(t.Context(), both)
	require.Equal(t, "subject", agentid.AsError(err).Field)
	_, err = m.d.Subject(policy.Holder{})
	require.Equal(t, "lineage", agentid.AsError(err).Field)
	q.Inputs = map[string]any{"amount": 1.5}
	_, err = m.d.Decide(t.Context(), q)
	require.Equal(t, "inputs.amount", agentid.AsError(err).Field)
	q.Inputs, q.Operation = nil, ""
	_, err = m.d.Decide(t.Context(), q)
	require.Equal(t, "operation", agentid.AsError(err).Field)
}

// TestWarmDecisionAllocatesNothing.
func TestWarmDecisionAllocatesNothing(t *testing.T) {
	for _, depth := range []int{0, 32} {
		m, q := warmQuestion(t, depth)
		require.Zero(t, testing.AllocsPerRun(200, func() {
			if a, err := m.d.Decide(context.Background(), q); err != nil || a.StillGood(*m.now.Load()) != nil {
				t.Error(err)
			}
		}), "at depth %d", depth)
	}
}

func warmQuestion(t testing.TB, depth int) (*memory, policy.Question) {
	t.Helper()
	m := newMemory(t)
	q := m.w.Question()
	q.Lineage = q.Lineage[:1]
	for i := range depth {
		q.Lineage = append(q.Lineage, policy.Member{Agent: agent(fmt.Sprintf("ancestor-%d", i))})
	}
	q = m.subject(q, m.now.Load().Add(time.Hour))
	m.allow(q, false)
	m.allow(q, true)
	return m, q
}

// BenchmarkWarmDecision is one remembered decision with its look before sending.
func BenchmarkWarmDecision(b *testing.B) {
	for _, depth := range []int{0, 1, 8, 32} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			m, q := warmQuestion(b, depth)
			b.ReportAllocs()
			for b.Loop() {
				a, err := m.d.Decide(context.Background(), q)
				if err != nil || a.StillGood(*m.now.Load()) != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
