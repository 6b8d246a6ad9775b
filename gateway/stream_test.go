package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// feedManifest is a connector with a stream, on the payments policy.
const feedManifest = `
kind: payments
account: payments_account
dialect: stripe
credential: { header: Authorization, scheme: Bearer, rejected: [401, 403] }
idempotency: { header: Idempotency-Key, max_length: 255 }
body: { max_bytes: 65536, max_parameters: 100 }
headers:
  forward: [Accept]
  respond: [Content-Type]
ids: { customer: "cus_[A-Za-z0-9_]{1,120}" }
resources:
  payments_account: {}
  payments_customer: { ancestors: [payments_account] }
operations:
  follow:
    effect: read
    method: GET
    path: /v1/customers/{customer}/events
    permission: read
    inputs: { customer: { in: path, type: id, id: customer, required: true } }
    resource: { type: payments_customer, name: customer }
`

// feed is an upstream that streams what a test says. It tells when its reader left.
type feed struct {
	say  chan string
	left chan struct{}
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush()
	for {
		select {
		case <-r.Context().Done():
			f.left <- struct{}{}
			return
		case text, more := <-f.say:
			if !more {
				return
			}
			_, _ = fmt.Fprintf(w, "data: %s\n\n", text)
			_ = out.Flush()
		}
	}
}

// following is an agent's open stream.
type following struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
	close context.CancelFunc
}

// next is the next event, or why there is none.
func (f *following) next() (string, error) {
	for f.lines.Scan() {
		if f.lines.Text() != "" {
			return f.lines.Text(), nil
		}
	}
	return "", f.lines.Err()
}

type streams struct {
	*world
	feed  *feed
	token string
	id    agentid.Ref
	until time.Time
}

func newStreams(t *testing.T, depth int, edit ...func(*gateway.Config)) *streams {
	t.Helper()
	kind, err := connectors.Compile([]byte(feedManifest))
	require.NoError(t, err)
	s := &streams{feed: &feed{say: make(chan string), left: make(chan struct{}, 8)}}
	s.world = newWorld(t, options{
		depth: depth, upstream: s.feed,
		connector: func(c *wire.Connector) { c.AllowBearer, c.BearerLifetime = true, time.Hour },
		config: func(c *gateway.Config) {
			c.Kinds = map[string]*connectors.Kind{"payments": kind}
			for _, e := range edit {
				e(c)
			}
		},
	})
	s.token = s.world.token(func(c *capability.Claims) {
		c.Confirmation = capability.Confirmation{}
		s.id, s.until = policytest.Must(agentid.TokenRef("acme", c.ID)), c.Expiry
	}, s.grant("", "payments:follow"))
	return s
}

func (s *streams) follow(t *testing.T) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/v1/customers/cus_1/events", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := s.client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, 200, resp.StatusCode)
	return &following{t, resp, bufio.NewScanner(resp.Body), cancel}
}

// ended waits for the record of a stream's end.
func (s *streams) ended(t *testing.T) auditlog.Record {
	t.Helper()
	var found auditlog.Record
	require.Eventually(t, func() bool {
		found = s.last()
		return found.Phase == auditlog.Finish
	}, 10*time.Second, time.Millisecond)
	return found
}

// TestStreamIsHandedOnAsItComes, and is recorded as begun and as ended.
func TestStreamIsHandedOnAsItComes(t *testing.T) {
	s := newStreams(t, 0)
	f := s.follow(t)
	require.Equal(t, "text/event-stream; charset=utf-8", f.resp.Header.Get("Content-Type"))
	require.Eventually(t, func() bool { return len(s.records()) == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, auditlog.Begin, s.last().Phase)
	for _, text := range []string{"one", "two"} {
		s.feed.say <- text
		got, err := f.next()
		require.NoError(t, err)
		require.Equal(t, "data: "+text, got, "before the next one is there")
	}
	close(s.feed.say)
	got, err := f.next()
	require.NoError(t, err)
	require.Empty(t, got)
	r := s.ended(t)
	require.Equal(t, auditlog.Allow, r.Decision)
	require.Empty(t, r.Reason)
	require.Equal(t, 200, r.UpstreamStatus)
}

// TestParentRevokedWhileChildStreams: the stream is cut, the upstream let go and the reply
// says that one operation was cancelled, whatever is taken away.
func TestParentRevokedWhileChildStreams(t *testing.T) {
	s := newStreams(t, 2)
	takings := s.takings()
	takings["token"] = taking{target: s.id} // last: it is not given back
	for _, kind := range []string{"ancestor", "agent", "principal", "type", "tenant", "connector", "token"} {
		t.Run(kind, func(t *testing.T) {
			f := s.follow(t)
			s.feed.say <- "one"
			_, err := f.next()
			require.NoError(t, err)
			require.Equal(t, 1, s.view.UnderWay())
			receipt := s.take(s.revoker(), takings[kind], s.until)
			require.Equal(t, 1, receipt.Cancelled)
			require.Zero(t, receipt.OnWire)
			_, err = f.next()
			require.Error(t, err, "the connection breaks: a part is not taken for the whole")
			<-s.feed.left
			r := s.ended(t)
			require.Equal(t, auditlog.Deny, r.Decision)
			require.NotEmpty(t, r.Reason)
			require.Eventually(t, func() bool { return s.view.UnderWay() == 0 }, 10*time.Second, time.Millisecond)
			if kind != "token" {
				s.Touch(t, takings[kind].edge)
			}
		})
	}
}

// TestStreamIsDecidedAgain: what the policy does not grant any more is not passed on,
// though nothing was revoked; what it still grants is.
func TestStreamIsDecidedAgain(t *testing.T) {
	s := newStreams(t, 0)
	f := s.follow(t)
	s.feed.say <- "one"
	_, err := f.next()
	require.NoError(t, err)
	s.Touch(t, s.Bar(policytest.Must(agentid.ResourceRef(schema.TypePaymentsCustomer, "acme", "cus_other")), relate.To(s.Alice)))
	s.feed.say <- "two"
	got, err := f.next()
	require.NoError(t, err)
	require.Equal(t, "data: two", got)
	s.Delete(t, s.readers()[0])
	s.feed.say <- "three"
	got, err = f.next()
	require.Error(t, err)
	require.Empty(t, got)
	require.Equal(t, "principal_denied", s.ended(t).Reason)
}

// TestSilentStreamEnds: by its own bound, not by that of requests that end.
func TestSilentStreamEnds(t *testing.T) {
	s := newStreams(t, 0, func(c *gateway.Config) { c.StreamIdle, c.UpstreamTimeout = 300*time.Millisecond, 100*time.Millisecond })
	f := s.follow(t)
	for range 8 { // longer than the bound of a request, never silent for that of a stream
		<-time.After(50 * time.Millisecond)
		s.feed.say <- "still here"
		_, err := f.next()
		require.NoError(t, err)
	}
	_, err := f.next()
	require.Error(t, err)
	require.Equal(t, "upstream_timeout", s.ended(t).Reason)
}

// TestClientLeavesAStream: the upstream is let go, and the record says why.
func TestClientLeavesAStream(t *testing.T) {
	s := newStreams(t, 0)
	f := s.follow(t)
	s.feed.say <- "one"
	_, err := f.next()
	require.NoError(t, err)
	f.close()
	<-s.feed.left
	require.Equal(t, "request_cancelled", s.ended(t).Reason)
}

// TestEffectsUnderWay: one on the wire ends as the upstream ends it and is named; one that
// waits for its turn is refused, and what it reserved is given back.
func TestEffectsUnderWay(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{config: func(c *gateway.Config) { c.HoldWait = 20 * time.Second }})
	next := w.sent.next
	w.sent.next = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			once.Do(func() { close(arrived); <-release })
		}
		next.ServeHTTP(rw, r)
	})
	token := w.token(nil, w.grant(""))
	first, second := make(chan answer, 1), make(chan answer, 1)
	go func() { first <- w.send(token, w.refund("charge=ch_half&amount=4000", "k-first")) }()
	<-arrived
	// The fact leaves 50.00: while 40.00 is on the wire, 30.00 has to wait for it.
	go func() { second <- w.send(token, w.refund("charge=ch_half&amount=3000", "k-second")) }()
	require.Eventually(t, func() bool { return w.view.UnderWay() == 2 || len(second) > 0 }, 10*time.Second, time.Millisecond)
	if len(second) > 0 {
		t.Fatal(<-second)
	}
	receipt := w.take(w.revoker(), w.takings()["agent"], time.Time{})
	require.Equal(t, 1, receipt.Cancelled)
	require.Equal(t, 1, receipt.OnWire)
	require.Len(t, receipt.Requests, 1)
	b := <-second
	require.Equal(t, 403, b.status)
	require.Equal(t, "agent_not_live", b.reason())
	close(release)
	a := <-first
	require.Equal(t, 200, a.status, a.body)
	require.Len(t, w.sent.of("POST"), 1)
	// What the second had reserved is free again.
	w.Touch(t, w.takings()["agent"].edge)
	require.Equal(t, 200, w.send(token, w.refund("charge=ch_half&amount=1000", "k-third")).status)
}
