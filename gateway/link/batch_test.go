package link_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/link"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker answers over mutual TLS as a test says, and remembers what it was sent.
type broker struct {
	t      *testing.T
	mu     sync.Mutex
	sizes  []int          // of the calls with effects
	seen   map[string]int // how often each request came
	answer func(w http.ResponseWriter, r *http.Request, in api.Effects)
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the gateway gave up
	}
	var in api.Effects
	if r.URL.Path == api.PathEffects {
		if err := api.Decode(body, api.MaxRequest, &in); err != nil {
			b.t.Errorf("an unreadable call: %v", err)
		}
		b.mu.Lock()
		b.sizes = append(b.sizes, len(in.Calls))
		for _, c := range in.Calls {
			b.seen[requestOf(c)]++
		}
		b.mu.Unlock()
	}
	b.answer(w, r, in)
}

func requestOf(c api.Effect) string {
	if c.Reserve != nil {
		return c.Reserve.Record.Request
	}
	return c.Settle.Record.Request
}

// each answers every call by itself: one whose request begins with "bad" is refused.
func each(w http.ResponseWriter, in api.Effects) {
	out := api.Effected{Results: make([]api.EffectResult, len(in.Calls))}
	for i, c := range in.Calls {
		switch {
		case strings.HasPrefix(requestOf(c), "bad"):
			out.Results[i].Problem = &api.Problem{Kind: "forbidden", Reason: "uses_exhausted", Field: "uses"}
		case c.Reserve != nil:
			out.Results[i].Reservation = &wire.Reservation{ID: "r-" + c.Reserve.Record.Request}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

func problem(w http.ResponseWriter, status int, p api.Problem) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
}

func start(t *testing.T, answer func(http.ResponseWriter, *http.Request, api.Effects)) (*broker, *link.Link) {
	t.Helper()
	a, err := fleetcert.NewAuthority("test", time.Now())
	require.NoError(t, err)
	own, err := a.Broker([]string{"127.0.0.1"}, time.Hour, time.Now())
	require.NoError(t, err)
	gateway, err := a.Gateway("gw-1", nil, true, time.Hour, time.Now())
	require.NoError(t, err)
	b := &broker{t: t, seen: map[string]int{}, answer: answer}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", keeper(t, own).ServerTLS())
	require.NoError(t, err)
	server := &http.Server{Handler: b, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends when it is closed
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-served
	})
	l, err := link.New(link.Config{Broker: "https://" + listener.Addr().String(), Cluster: "test", Keeper: keeper(t, gateway)})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return b, l
}

func keeper(t *testing.T, pair fleetcert.Pair) *fleetcert.Keeper {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, pair.Write(dir))
	k, err := fleetcert.Open(fleetcert.Source{
		Cert: filepath.Join(dir, "tls.crt"), Authority: filepath.Join(dir, "ca.crt"), Key: func() ([]byte, error) { return pair.Key, nil },
	})
	require.NoError(t, err)
	return k
}

func reserve(request string) wire.Reserve {
	return wire.Reserve{Record: auditlog.Record{Request: request, Kind: auditlog.Operation, Phase: auditlog.Begin}}
}

// TestEffectsGoTogetherAndAreAnsweredEach: what comes while calls are under way shares the
// next one; each caller gets its own answer, and a refusal is its own.
func TestEffectsGoTogetherAndAreAnsweredEach(t *testing.T) {
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	b, l := start(t, func(w http.ResponseWriter, _ *http.Request, in api.Effects) {
		arrived <- struct{}{}
		<-release
		each(w, in)
	})
	var wg sync.WaitGroup
	one := func(name string) {
		wg.Go(func() {
			got, err := l.Reserve(t.Context(), reserve(name))
			if strings.HasPrefix(name, "bad") {
				require.Equal(t, "uses_exhausted", agentid.ReasonOf(err))
				require.Equal(t, "uses", agentid.AsError(err).Field)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "r-"+name, got.ID)
		})
	}
	one("first")
	<-arrived
	const n = 60
	for i := range n {
		name := fmt.Sprintf("good-%d", i)
		if i%5 == 0 {
			name = fmt.Sprintf("bad-%d", i)
		}
		one(name)
	}
	close(release)
	wg.Wait()
	for name, times := range b.seen {
		require.Equal(t, 1, times, name)
	}
	require.Len(t, b.seen, n+1)
	require.Less(t, len(b.sizes), n/2, "calls of %v", b.sizes)
	for _, size := range b.sizes {
		require.LessOrEqual(t, size, api.MaxCalls)
	}
}

// TestALostAnswer: a reservation whose answer was lost is refused and not sent again; a
// settlement is, because it may be repeated.
func TestALostAnswer(t *testing.T) {
	var calls atomic.Int64
	b, l := start(t, func(w http.ResponseWriter, _ *http.Request, in api.Effects) {
		if calls.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		each(w, in)
	})
	_, err := l.Reserve(t.Context(), reserve("lost"))
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	require.Equal(t, "broker_unreachable", agentid.ReasonOf(err))
	finish := wire.Settlement{ID: "r-lost", Outcome: wire.Done, Record: auditlog.Record{Request: "finish", Phase: auditlog.Finish}}
	require.NoError(t, l.Settle(t.Context(), finish))
	require.Equal(t, map[string]int{"lost": 1, "finish": 2}, b.seen)
	finish.Record.Request = "bad"
	require.Equal(t, "uses_exhausted", agentid.ReasonOf(l.Settle(t.Context(), finish)), "a refusal is not tried again")
	require.Equal(t, 1, b.seen["bad"])
}

// TestACallThatIsRefusedWhole for its form has done nothing: its parts are sent by
// themselves, so that one bad one fails alone. An outage, and a refusal that may have come
// after something was done, is everybody's and nothing is sent again.
func TestACallThatIsRefusedWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		p      api.Problem
		again  bool
	}{
		"malformed":    {400, api.Problem{Kind: "invalid", Reason: "invalid_request", Field: "calls"}, true},
		"too large":    {413, api.Problem{Kind: "too_large", Reason: "body_too_large"}, true},
		"given up":     {400, api.Problem{Kind: "invalid", Reason: "request_cancelled"}, false},
		"an outage":    {503, api.Problem{Kind: "unavailable", Reason: "ledger_unavailable"}, false},
		"a fault":      {500, api.Problem{Kind: "internal", Reason: "internal"}, false},
		"another life": {409, api.Problem{Kind: "conflict", Reason: "incarnation_mismatch"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			arrived, release := make(chan struct{}, 100), make(chan struct{})
			b, l := start(t, func(w http.ResponseWriter, _ *http.Request, in api.Effects) {
				if len(in.Calls) > 1 {
					problem(w, tc.status, tc.p)
					return
				}
				if strings.HasPrefix(requestOf(in.Calls[0]), "first") {
					arrived <- struct{}{}
					<-release
				}
				each(w, in)
			})
			l.NeverSlow()
			var wg sync.WaitGroup
			errs := make([]error, 4)
			for _, request := range []string{"first-1", "first-2"} { // as many as may be under way
				wg.Go(func() { _, _ = l.Reserve(t.Context(), reserve(request)) })
				<-arrived
			}
			for i, request := range []string{"bad", "good-1", "good-2", "good-3"} {
				wg.Go(func() { _, errs[i] = l.Reserve(t.Context(), reserve(request)) })
			}
			l.WaitQueued(len(errs))
			close(release)
			wg.Wait()
			for i, err := range errs {
				switch {
				case !tc.again:
					require.Equal(t, tc.p.Reason, agentid.ReasonOf(err))
				case i == 0:
					require.Equal(t, "uses_exhausted", agentid.ReasonOf(err))
				default:
					require.NoError(t, err)
				}
			}
			most := 1
			if tc.again {
				most = 2
			}
			for request, times := range b.seen {
				require.LessOrEqual(t, times, most, request)
			}
		})
	}
}

// TestAConnectionThatHangs holds up what is in its own call, and no other.
func TestAConnectionThatHangs(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	_, l := start(t, func(w http.ResponseWriter, _ *http.Request, in api.Effects) {
		if strings.HasPrefix(requestOf(in.Calls[0]), "hangs") {
			arrived <- struct{}{}
			<-release
		}
		each(w, in)
	})
	var wg sync.WaitGroup
	for i := range 4 { // more than may be under way at once
		wg.Go(func() {
			_, err := l.Reserve(t.Context(), reserve(fmt.Sprintf("hangs-%d", i)))
			require.NoError(t, err)
		})
		<-arrived
		_, err := l.Reserve(t.Context(), reserve(fmt.Sprintf("after-%d", i)))
		require.NoError(t, err)
	}
	close(release)
	wg.Wait()
}

// TestAfterTheEndNothingIsSent.
func TestAfterTheEndNothingIsSent(t *testing.T) {
	b, l := start(t, func(w http.ResponseWriter, _ *http.Request, in api.Effects) { each(w, in) })
	l.Close()
	_, err := l.Reserve(t.Context(), reserve("late"))
	require.Equal(t, "broker_unreachable", agentid.ReasonOf(err))
	err = l.Append(t.Context(), auditlog.Record{}, wire.Durable)
	require.Equal(t, "audit_unavailable", agentid.ReasonOf(err))
	require.Empty(t, b.seen)
}
