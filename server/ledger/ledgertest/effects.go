package ledgertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

func reserve(t testing.TB, l Ledger, r wire.Reserve) wire.Reservation {
	t.Helper()
	got, err := l.Reserve(t.Context(), r)
	require.NoError(t, err)
	return got
}

func reserveAndSettle(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	r := Refund(t, clock, "r1")
	r.Uses = Uses(t, 1)
	got := reserve(t, l, r)
	require.False(t, got.Retry)
	require.Len(t, got.UpstreamKey, 64)
	require.NotContains(t, got.UpstreamKey, "r1")
	open, err := l.Audit().Open(ctx, "acme")
	require.NoError(t, err)
	require.Len(t, open, 1)

	second := Refund(t, clock, "r2")
	second.Uses = Uses(t, 1)
	_, err = l.Reserve(ctx, second)
	refuses(t, err, agentid.KindForbidden, "uses_exhausted")
	require.Empty(t, phases(t, l, "r2"), "a refused reservation leaves nothing")

	settle(t, l, got.ID, "r1", wire.Released)
	settle(t, l, got.ID, "r1", wire.Released)
	require.Equal(t, "begin finish", phases(t, l, "r1"), "settling twice writes one finish")
	got = reserve(t, l, second)
	require.Empty(t, got.Ahead, "the released hold is gone, its use given back once")
	third := Refund(t, clock, "r3")
	third.Uses = Uses(t, 1)
	_, err = l.Reserve(ctx, third)
	refuses(t, err, agentid.KindForbidden, "uses_exhausted")

	settle(t, l, got.ID, "r2", wire.Done)
	_, err = l.Reserve(ctx, third)
	refuses(t, err, agentid.KindForbidden, "uses_exhausted")
	settle(t, l, got.ID, "r2", wire.Released) // too late: it was done
	_, err = l.Reserve(ctx, third)
	refuses(t, err, agentid.KindForbidden, "uses_exhausted")
	third.Uses[0].Capability = "another"
	reserve(t, l, third) // its own count
}

func badReservations(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	for name, edit := range map[string]func(*wire.Reserve){
		"no token":         func(r *wire.Reserve) { r.Token = agentid.Ref{} },
		"no agent":         func(r *wire.Reserve) { r.Agent = agentid.Ref{} },
		"other tenant":     func(r *wire.Reserve) { r.Token = Ref(t, "token:beta/tok-1") },
		"foreign hold":     func(r *wire.Reserve) { r.HoldKey = "beta/stripe/charge/ch_1" },
		"prefix tenant":    func(r *wire.Reserve) { r.HoldKey = "acmecorp/stripe/charge/ch_1" },
		"nothing held":     func(r *wire.Reserve) { r.HoldAmount = 0 },
		"negative hold":    func(r *wire.Reserve) { r.HoldAmount = -1 },
		"huge hold":        func(r *wire.Reserve) { r.HoldAmount = 1<<53 + 1 },
		"no hold key":      func(r *wire.Reserve) { r.HoldKey = "" },
		"no uses at most":  func(r *wire.Reserve) { r.Uses = Uses(t, 0) },
		"negative uses":    func(r *wire.Reserve) { r.Uses = Uses(t, -1) },
		"uses of nothing":  func(r *wire.Reserve) { r.Uses = Uses(t, 1); r.Uses[0].Capability = "" },
		"foreign uses":     func(r *wire.Reserve) { r.Uses = Uses(t, 1); r.Uses[0].Token = Ref(t, "token:beta/tok-1") },
		"uses of an agent": func(r *wire.Reserve) { r.Uses = Uses(t, 1); r.Uses[0].Token = r.Agent },
		"uses twice":       func(r *wire.Reserve) { r.Uses = append(Uses(t, 1), Uses(t, 2)...) },
		"uses too many":    func(r *wire.Reserve) { r.Uses = manyUses(t, wire.MaxUses+1) },
		"no digest":        func(r *wire.Reserve) { r.RequestDigest = "" },
		"long key":         func(r *wire.Reserve) { r.IdempotencyKey = strings.Repeat("k", 256) },
		"past deadline":    func(r *wire.Reserve) { r.Deadline = clock.Now() },
		"no deadline":      func(r *wire.Reserve) { r.Deadline = time.Time{} },
	} {
		r := Refund(t, clock, "r1")
		edit(&r)
		_, err := l.Reserve(ctx, r)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "%s: %v", name, err)
	}
	r := Refund(t, clock, "r1")
	r.Record = Finish("r1")
	_, err := l.Reserve(ctx, r)
	refuses(t, err, agentid.KindInternal, "audit_record_invalid")
	require.Empty(t, phases(t, l, "r1"))

	got := reserve(t, l, Refund(t, clock, "r1"))
	for _, s := range []wire.Settlement{
		{ID: got.ID, Record: Finish("r1")},
		{ID: got.ID, Outcome: 9, Record: Finish("r1")},
		{ID: got.ID, Outcome: wire.Done, Record: Finish("r2")},
		{ID: got.ID, Outcome: wire.Done, Record: Begin("r1")},
	} {
		require.Error(t, l.Settle(ctx, s))
	}
	for _, id := range []string{"", "r", "r1", "r999-0011223344556677", got.ID[:len(got.ID)-1], got.ID + "0", strings.ToUpper(got.ID), "r1' OR 1=1"} {
		err := l.Settle(ctx, wire.Settlement{ID: id, Outcome: wire.Done, Record: Finish("r1")})
		refuses(t, err, agentid.KindNotFound, "reservation_unknown")
		_, err = l.Await(ctx, id)
		refuses(t, err, agentid.KindNotFound, "reservation_unknown")
	}
	require.Equal(t, "begin", phases(t, l, "r1"), "nothing settled it")
}

func usesUnderARace(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	var wins, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			r := Refund(t, clock, fmt.Sprintf("r%d", i))
			r.Uses = Uses(t, 1)
			_, err := l.Reserve(ctx, r)
			switch {
			case err == nil:
				wins.Add(1)
			case agentid.ReasonOf(err) == "uses_exhausted":
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), wins.Load())
	require.Equal(t, int64(99), refused.Load())
}

func idempotency(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	retry := func(request string) wire.Reserve {
		r := Refund(t, clock, "key")
		r.Uses, r.Record = Uses(t, 1), Begin(request)
		return r
	}
	first := reserve(t, l, retry("q1"))
	_, err := l.Reserve(ctx, retry("q2"))
	refuses(t, err, agentid.KindConflict, "idempotency_in_progress")
	other := retry("q3")
	other.RequestDigest = "other"
	_, err = l.Reserve(ctx, other)
	refuses(t, err, agentid.KindConflict, "idempotency_key_reused")

	settle(t, l, first.ID, "q1", wire.Done)
	again := reserve(t, l, retry("q4"))
	require.True(t, again.Retry)
	require.Empty(t, again.Ahead)
	require.Equal(t, first.UpstreamKey, again.UpstreamKey)
	require.NotEqual(t, first.ID, again.ID)
	reserve(t, l, retry("q5")) // a retry of what is done does not exclude another
	settle(t, l, again.ID, "q4", wire.Released)
	require.True(t, reserve(t, l, retry("q6")).Retry, "a retry's outcome takes nothing back")
	_, err = l.Reserve(ctx, other)
	refuses(t, err, agentid.KindConflict, "idempotency_key_reused")
	require.Equal(t, "begin finish", phases(t, l, "q4"))

	stranger := retry("q7")
	stranger.Agent, stranger.Uses = Ref(t, "agent:acme/ag-2"), nil
	theirs := reserve(t, l, stranger)
	require.False(t, theirs.Retry, "another agent's key is another key")
	require.NotEqual(t, first.UpstreamKey, theirs.UpstreamKey)

	clock.Add(20*time.Hour + time.Second)
	between := retry("q8")
	_, err = l.Reserve(ctx, between)
	refuses(t, err, agentid.KindConflict, "idempotency_key_expired") // the upstream may or may not replay
	clock.Add(6 * time.Hour)
	late := retry("q9")
	_, err = l.Reserve(ctx, late)
	refuses(t, err, agentid.KindForbidden, "uses_exhausted") // forgotten: decided anew
	late.Token = Ref(t, "token:acme/tok-2")
	late.Uses[0].Token = late.Token
	require.False(t, reserve(t, l, late).Retry)
}

func idempotencyUnderARace(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	for round := range 5 {
		var fresh, busy atomic.Int64
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				r := Refund(t, clock, fmt.Sprintf("key%d", round))
				r.Record = Begin(fmt.Sprintf("q%d-%d", round, i))
				got, err := l.Reserve(ctx, r)
				switch {
				case err == nil && !got.Retry:
					fresh.Add(1)
				case agentid.ReasonOf(err) == "idempotency_in_progress":
					busy.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int64(1), fresh.Load())
		require.Equal(t, int64(49), busy.Load())
	}
}

func unknownOutcomes(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	attempt := func(request string) wire.Reserve {
		r := Refund(t, clock, "key")
		r.Uses, r.Record, r.Deadline = Uses(t, 2), Begin(request), clock.Now().Add(time.Minute)
		return r
	}
	first := reserve(t, l, attempt("q1"))
	settle(t, l, first.ID, "q1", wire.Unknown)
	settle(t, l, first.ID, "q1", wire.Unknown)
	require.Equal(t, "begin finish", phases(t, l, "q1"))
	behind := reserve(t, l, Refund(t, clock, "other"))
	require.Equal(t, []wire.Ahead{{ID: first.ID, Amount: 1000}}, behind.Ahead, "the hold stands")

	clock.Add(50 * time.Second)
	again := reserve(t, l, attempt("q2"))
	require.True(t, again.Retry)
	_, err := l.Reserve(ctx, attempt("q3"))
	refuses(t, err, agentid.KindConflict, "idempotency_in_progress") // one retry at a time
	clock.Add(50 * time.Second)                                      // past the first deadline, not the retry's
	_, err = l.Sweep(ctx)
	require.NoError(t, err)
	require.Len(t, reserve(t, l, Refund(t, clock, "third")).Ahead, 1, "the retry keeps the hold")
	settle(t, l, again.ID, "q2", wire.Released)
	again = reserve(t, l, attempt("q4"))
	require.True(t, again.Retry, "a retry cannot show that the first attempt did nothing")
	settle(t, l, again.ID, "q4", wire.Unknown)

	clock.Add(2 * time.Minute)
	_, err = l.Sweep(ctx)
	require.NoError(t, err)
	fresh := reserve(t, l, attempt("q5"))
	require.False(t, fresh.Retry, "after its deadline it is decided anew")
	require.Empty(t, fresh.Ahead)
	settle(t, l, fresh.ID, "q5", wire.Unknown)
	again = reserve(t, l, attempt("q6"))
	require.True(t, again.Retry)
	settle(t, l, again.ID, "q6", wire.Done)
	require.Empty(t, reserve(t, l, Refund(t, clock, "fourth")).Ahead, "the retry showed that it was done")
	settle(t, l, fresh.ID, "q5", wire.Released)
	exhausted := attempt("q7")
	exhausted.IdempotencyKey = "new"
	_, err = l.Reserve(ctx, exhausted)
	refuses(t, err, agentid.KindForbidden, "uses_exhausted") // both are used up
}

func lateOutcomes(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	r := Refund(t, clock, "r1")
	r.Uses = Uses(t, 1)
	late := reserve(t, l, r)
	clock.Add(2 * time.Minute)
	n, err := l.Sweep(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "begin finish:outcome_unknown", phases(t, l, "r1"))
	settle(t, l, late.ID, "r1", wire.Unknown)
	require.Equal(t, "begin finish:outcome_unknown", phases(t, l, "r1"))
	settle(t, l, late.ID, "r1", wire.Released) // now it is known
	require.Equal(t, "begin finish:outcome_unknown finish", phases(t, l, "r1"))
	second := Refund(t, clock, "r2")
	second.Uses = Uses(t, 1)
	reserve(t, l, second)
}

func holdsAreOrdered(t *testing.T, l Ledger, clock *Clock) {
	var got []wire.Reservation
	for i := range 4 {
		r := reserve(t, l, Refund(t, clock, fmt.Sprintf("r%d", i)))
		require.Len(t, r.Ahead, i, "a hold sees earlier ones only")
		got = append(got, r)
	}
	elsewhere := Refund(t, clock, "r9")
	elsewhere.HoldKey = "acme/stripe/charge/ch_2"
	require.Empty(t, reserve(t, l, elsewhere).Ahead)
	settle(t, l, got[1].ID, "r1", wire.Done)
	last := reserve(t, l, Refund(t, clock, "r5"))
	require.Equal(t, []wire.Ahead{{ID: got[0].ID, Amount: 1000}, {ID: got[2].ID, Amount: 1000}, {ID: got[3].ID, Amount: 1000}}, last.Ahead)
	unheld := Refund(t, clock, "r6")
	unheld.HoldKey, unheld.HoldAmount = "", 0
	require.Empty(t, reserve(t, l, unheld).Ahead)
}

func await(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	a, b := reserve(t, l, Refund(t, clock, "a")), reserve(t, l, Refund(t, clock, "b"))
	long := Refund(t, clock, "c")
	long.Deadline = clock.Now().Add(time.Hour)
	c := reserve(t, l, long)
	left, err := l.Await(ctx, a.ID)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is ahead: no wait")

	short, cancel := context.WithCancel(ctx)
	cancel()
	_, err = l.Await(short, c.ID)
	require.ErrorIs(t, err, context.Canceled)

	settle(t, l, a.ID, "a", wire.Done)
	left, err = l.Await(ctx, c.ID)
	require.NoError(t, err)
	require.Equal(t, []wire.Ahead{{ID: b.ID, Amount: 1000}}, left, "what resolved before the call is news")

	type result struct {
		left []wire.Ahead
		err  error
	}
	answer := make(chan result, 1)
	go func() {
		left, err := l.Await(ctx, c.ID)
		answer <- result{left, err}
	}()
	settle(t, l, b.ID, "b", wire.Unknown) // stands on: no news
	select {
	case r := <-answer:
		t.Fatalf("answered without news: %v", r)
	default:
	}
	clock.Add(2 * time.Minute)
	n, err := l.Sweep(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	r := <-answer
	require.NoError(t, r.err)
	require.Empty(t, r.left, "the sweeper wakes those who wait")
	settle(t, l, c.ID, "c", wire.Done)
	_, err = l.Await(ctx, c.ID)
	refuses(t, err, agentid.KindNotFound, "reservation_unknown")
}

// upstream is a charge with an amount that is left.
type upstream struct {
	mu       sync.Mutex
	left     int64
	refunded int
}

func (u *upstream) fact() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.left
}

func (u *upstream) refund(t testing.TB, amount int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left -= amount
	u.refunded++
	if u.left < 0 {
		t.Errorf("the upstream was asked for more than is left")
	}
}

// refund is the gateway's rule: DESIGN section 8, phases 7 to 10.
func refund(t testing.TB, l Ledger, u *upstream, r wire.Reserve) bool {
	ctx := t.Context()
	request := r.Record.Request
	got, err := l.Reserve(ctx, r)
	if err != nil {
		t.Errorf("reserve: %v", err)
		return false
	}
	settled := func(o wire.Outcome) bool {
		if err := l.Settle(ctx, wire.Settlement{ID: got.ID, Outcome: o, Record: Finish(request)}); err != nil {
			t.Errorf("settle: %v", err)
		}
		return o == wire.Done
	}
	for ahead := got.Ahead; ; {
		need := r.HoldAmount
		for _, a := range ahead {
			need += a.Amount
		}
		switch {
		case need <= u.fact():
			u.refund(t, r.HoldAmount)
			return settled(wire.Done)
		case len(ahead) == 0:
			return settled(wire.Released)
		}
		if ahead, err = l.Await(ctx, got.ID); err != nil {
			t.Errorf("await: %v", err)
			return false
		}
	}
}

func exactlyFiveRefunds(t *testing.T, l Ledger, clock *Clock) {
	for _, disturb := range []bool{false, true} {
		u := &upstream{left: 5000}
		charge := fmt.Sprintf("acme/stripe/charge/ch_%v", disturb)
		var passed atomic.Int64
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				r := Refund(t, clock, fmt.Sprintf("r-%v-%d", disturb, i))
				r.HoldKey = charge
				if refund(t, l, u, r) {
					passed.Add(1)
				}
			})
			if disturb && i%4 == 0 { // holds that come and go without effect
				wg.Go(func() {
					id := fmt.Sprintf("d-%d", i)
					r := Refund(t, clock, id)
					r.HoldKey, r.HoldAmount = charge, 4000
					got, err := l.Reserve(t.Context(), r)
					if err == nil {
						err = l.Settle(t.Context(), wire.Settlement{ID: got.ID, Outcome: wire.Released, Record: Finish(id)})
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		require.Equal(t, int64(5), passed.Load())
		require.Equal(t, 5, u.refunded)
		require.Zero(t, u.left)
	}
}

func sweeper(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	for i := range 250 { // more than one batch
		r := Refund(t, clock, fmt.Sprintf("r%d", i))
		r.HoldKey = fmt.Sprintf("acme/stripe/charge/ch_%d", i)
		reserve(t, l, r)
	}
	n, err := l.Sweep(ctx)
	require.NoError(t, err)
	require.Zero(t, n, "nothing is due")
	clock.Add(time.Minute)
	n, err = l.Sweep(ctx)
	require.NoError(t, err)
	require.Equal(t, 250, n)
	open, err := l.Audit().Open(ctx, "")
	require.NoError(t, err)
	require.Empty(t, open)
	n, err = l.Sweep(ctx)
	require.NoError(t, err)
	require.Zero(t, n)
}

func purge(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	const n = 600 // more than one batch
	for i := range n {
		require.NoError(t, l.RecordIssue(ctx, newIssue(t, clock, fmt.Sprintf("t%d", i), fmt.Sprintf("a%d", i))))
	}
	r := Refund(t, clock, "r1")
	r.Uses = Uses(t, 1)
	settle(t, l, reserve(t, l, r).ID, "r1", wire.Done)
	gone, err := l.Purge(ctx)
	require.NoError(t, err)
	require.Zero(t, gone)
	size, err := l.Audit().Size(ctx)
	require.NoError(t, err)
	clock.Add(27 * time.Hour)
	gone, err = l.Purge(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(2*n+2), gone)
	after, err := l.Audit().Size(ctx)
	require.NoError(t, err)
	require.Equal(t, size, after, "the log keeps everything")
}

// holdsInOrder: reservations on one key that come at once are each told of exactly the
// older ones, whether or not they share a commit, and nobody of one that was refused.
func holdsInOrder(t *testing.T, l Ledger, clock *Clock) {
	const n = 40
	got := make([]wire.Reservation, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := Refund(t, clock, fmt.Sprintf("o%d", i))
			r.IdempotencyKey, r.HoldAmount = fmt.Sprintf("o%d", i), int64(i+1)
			if i%4 == 0 { // refused once it stands
				r.Uses = []wire.Use{{Token: r.Token, Capability: "one", Max: 1}}
			}
			got[i], _ = l.Reserve(t.Context(), r)
		})
	}
	wg.Wait()
	var kept []wire.Reservation
	for _, r := range got {
		if r.ID != "" {
			kept = append(kept, r)
		}
	}
	require.Len(t, kept, n-n/4+1)
	slices.SortFunc(kept, func(a, b wire.Reservation) int { return len(a.Ahead) - len(b.Ahead) })
	for i, r := range kept {
		ids := make([]string, 0, len(r.Ahead))
		for _, a := range r.Ahead {
			ids = append(ids, a.ID)
		}
		for _, older := range kept[:i] {
			require.Contains(t, ids, older.ID)
		}
		require.NotContains(t, ids, r.ID)
		for _, younger := range kept[i+1:] {
			require.NotContains(t, ids, younger.ID)
		}
	}
	last := kept[len(kept)-1]
	for _, r := range kept[:len(kept)-1] {
		settleOne(t, l, r.ID, wire.Done)
	}
	left, err := l.Await(t.Context(), last.ID)
	require.NoError(t, err)
	require.Empty(t, left)
}

func settleOne(t *testing.T, l Ledger, id string, outcome wire.Outcome) {
	t.Helper()
	finish := Finish("")
	require.NoError(t, l.Settle(t.Context(), wire.Settlement{ID: id, Outcome: outcome, Record: finish}))
}
