package brokered_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/brokered"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// TestCheckerSuite runs over the broker's port for gateways, with mutual TLS.
func TestCheckerSuite(t *testing.T) {
	policytest.Run(t, func(tb testing.TB) policytest.Graph {
		e, conn := start(tb)
		return policytest.Graph{Checker: newChecker(tb, brokered.Config{Conn: conn}), Permissions: e.Permissions(), Schema: e.Schema()}
	})
}

// start runs an engine with its port for gateways, and dials it as one of them.
func start(tb testing.TB) (*engine.Engine, *grpc.ClientConn) {
	tb.Helper()
	store, err := graphstore.Open(tb.Context(), graphstore.Config{Path: filepath.Join(tb.TempDir(), "graph.db")})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	e, err := engine.Start(tb.Context(), engine.Config{Datastore: store})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, e.Close()) })
	a, err := fleetcert.NewAuthority("test", time.Now())
	require.NoError(tb, err)
	broker, err := a.Broker([]string{"127.0.0.1"}, time.Hour, time.Now())
	require.NoError(tb, err)
	gateway, err := a.Gateway("gw-1", nil, true, time.Hour, time.Now())
	require.NoError(tb, err)
	addr, err := e.ListenFleet(tb.Context(), engine.Fleet{
		Addr: "127.0.0.1:0", TLS: keeper(tb, broker).ServerTLS(),
		Admit: func(context.Context, *x509.Certificate, func(string) string) error { return nil },
	})
	require.NoError(tb, err)
	return e, dial(tb, addr, credentials.NewTLS(keeper(tb, gateway).ClientTLS()))
}

func keeper(tb testing.TB, pair fleetcert.Pair) *fleetcert.Keeper {
	tb.Helper()
	dir := tb.TempDir()
	require.NoError(tb, pair.Write(filepath.Join(dir, "c")))
	k, err := fleetcert.Open(fleetcert.Source{
		Cert: filepath.Join(dir, "c", "tls.crt"), Authority: filepath.Join(dir, "c", "ca.crt"), Key: func() ([]byte, error) { return pair.Key, nil },
	})
	require.NoError(tb, err)
	return k
}

func dial(tb testing.TB, addr string, c credentials.TransportCredentials) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(c))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, conn.Close()) })
	return conn
}

func newChecker(tb testing.TB, cfg brokered.Config) *brokered.Checker {
	tb.Helper()
	c, err := brokered.New(cfg)
	require.NoError(tb, err)
	return c
}

func inputs(tb testing.TB, raw map[string]any) *policy.Inputs {
	tb.Helper()
	in, err := policy.NewInputs(raw)
	require.NoError(tb, err)
	return in
}

// TestAnswersAndPartsAreThoseOfTheGraph: whatever stands in the graph and whatever is
// asked, what comes over the wire is what the broker's own process is told.
func TestAnswersAndPartsAreThoseOfTheGraph(t *testing.T) {
	e, conn := start(t)
	w := policytest.NewWorld(t, policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}, "acme", 1)
	own, ok := e.Checker().(policy.ResidualChecker)
	require.True(t, ok)
	far := newChecker(t, brokered.Config{Conn: conn})
	worlds := []func(){
		func() {},
		func() { w.Touch(t, w.Bar(w.Customer, relate.All(schema.TypeAgent))) },
		func() { w.Delete(t, w.AgentGrant()) },
		func() { w.Delete(t, w.PrincipalGrant()) },
		func() { w.Touch(t, w.AgentGrant()); w.Delete(t, w.Enabled(w.Agents[1])) },
	}
	for step, change := range worlds {
		change()
		for _, raw := range []map[string]any{
			nil,
			{"amount": int64(policytest.Limit), "currency": "usd"},
			{"amount": int64(policytest.Limit + 1), "currency": "usd"},
			{"amount": int64(1), "currency": "eur"},
			{"amount": int64(1)},
			{"currency": "usd"},
			{"amount": int64(1), "currency": "usd", "reason": "käse <&>"},
		} {
			same(t, step, own, far, allChecks(w, inputs(t, raw)))
		}
	}
}

func allChecks(w *policytest.World, in *policy.Inputs) []policy.Check {
	var out []policy.Check
	for _, subject := range append([]agentid.Ref{w.Alice}, w.Agents...) {
		for _, resource := range []agentid.Ref{w.Account, w.Customer} {
			out = append(out,
				policy.Check{Resource: resource, Permission: schema.PaymentsRefund, Subject: subject, Inputs: in},
				policy.Check{Resource: resource, Permission: schema.PaymentsBarredRefund, Subject: subject, Inputs: in})
		}
	}
	return append(out, policy.Check{Resource: w.Agents[1], Permission: schema.AgentAlive, Subject: w.Agents[0]})
}

func same(t *testing.T, step int, own, far policy.ResidualChecker, checks []policy.Check) {
	t.Helper()
	at, want, err := own.CheckBulk(t.Context(), "", checks)
	require.NoError(t, err)
	farAt, got, err := far.CheckBulk(t.Context(), "", checks)
	require.NoError(t, err)
	require.Equal(t, at, farAt)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Check, got[i].Check)
		require.Equal(t, want[i].Verdict, got[i].Verdict, "step %d: %v", step, want[i].Check)
		require.ElementsMatch(t, want[i].Missing, got[i].Missing)
		require.Equal(t, want[i].Fixed, got[i].Fixed)
		require.WithinDuration(t, want[i].Expires, got[i].Expires, 5*time.Second)
		require.False(t, got[i].Expires.After(want[i].Expires), "never longer than it holds")
	}
	_, parts, err := own.Residuals(t.Context(), "", checks)
	require.NoError(t, err)
	_, farParts, err := far.Residuals(t.Context(), "", checks)
	require.NoError(t, err)
	for i := range parts {
		require.Equal(t, parts[i] == nil, farParts[i] == nil)
		if parts[i] == nil {
			continue
		}
		v, missing, err := parts[i].Evaluate(checks[i].Inputs)
		require.NoError(t, err)
		farV, farMissing, err := farParts[i].Evaluate(checks[i].Inputs)
		require.NoError(t, err)
		require.Equal(t, v, farV, "step %d: %v", step, checks[i])
		require.Equal(t, missing, farMissing)
		require.Equal(t, parts[i].Expires().IsZero(), farParts[i].Expires().IsZero())
	}
}

// TestAnInputOfAWrongTypeIsNamed, as the graph in the process names it.
func TestAnInputOfAWrongTypeIsNamed(t *testing.T) {
	e, conn := start(t)
	w := policytest.NewWorld(t, policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}, "acme", 0)
	far := newChecker(t, brokered.Config{Conn: conn})
	_, _, err := far.CheckBulk(t.Context(), "", []policy.Check{{
		Resource: w.Account, Permission: schema.PaymentsRefund, Subject: w.Agents[0], Inputs: inputs(t, map[string]any{"amount": "much", "currency": "usd"}),
	}})
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "%v", err)
	require.Equal(t, "inputs.amount", agentid.AsError(err).Field)
	_, _, err = far.CheckBulk(t.Context(), "", []policy.Check{{
		Resource: w.Account, Permission: schema.PaymentsRefund, Subject: w.Agents[0], Inputs: inputs(t, map[string]any{"reason": "a\xff"}),
	}})
	require.Equal(t, "inputs.reason", agentid.AsError(err).Field, "it would arrive as another text")
	_, _, err = far.CheckBulk(t.Context(), "made up", []policy.Check{{Resource: w.Account, Permission: schema.PaymentsRefund, Subject: w.Agents[0]}})
	require.Equal(t, policy.ReasonZookieInvalid, agentid.ReasonOf(err))
}

// TestHowLongAnAnswerHoldsNeedsNoCommonClock: a gateway whose clock is hours off counts
// from its own.
func TestHowLongAnAnswerHoldsNeedsNoCommonClock(t *testing.T) {
	e, conn := start(t)
	w := policytest.NewWorld(t, policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}, "acme", 0)
	slow := time.Now().Add(-9 * time.Hour)
	far := newChecker(t, brokered.Config{Conn: conn, Now: func() time.Time { return slow }})
	alive := []policy.Check{{Resource: w.Agents[0], Permission: schema.AgentAlive, Subject: w.Agents[0]}}
	_, got, err := far.CheckBulk(t.Context(), "", alive)
	require.NoError(t, err)
	left := time.Until(w.Expiry)
	require.WithinDuration(t, slow.Add(left), got[0].Expires, time.Minute)
	require.False(t, got[0].Expires.After(slow.Add(left+time.Second)))
}

// TestCallsThatAreNotAnswered: a gateway that asks for anything but checks is refused by
// name, and nothing of it reaches the graph.
func TestCallsThatAreNotAnswered(t *testing.T) {
	check := func(more string) string {
		return `{"checks":[{"resource":"payments_account:acme/stripe","permission":"refund","subject":"agent:acme/a"` + more + `}]}`
	}
	for name, text := range map[string]string{
		"nothing":          ``,
		"too many":         `{"checks":[` + strings.TrimSuffix(strings.Repeat(`{},`, 2001), ",") + `]}`,
		"unknown field":    check(`,"schema":true`),
		"twice":            check(`,"permission":"read"`),
		"no subject":       `{"checks":[{"resource":"payments_account:acme/stripe","permission":"refund"}]}`,
		"a wildcard":       `{"checks":[{"resource":"payments_account:acme/*","permission":"refund","subject":"agent:acme/a"}]}`,
		"no permission":    `{"checks":[{"resource":"payments_account:acme/stripe","permission":"","subject":"agent:acme/a"}]}`,
		"a strange one":    `{"checks":[{"resource":"payments_account:acme/stripe","permission":"refund#x","subject":"agent:acme/a"}]}`,
		"inputs not given": check(`,"inputs":true`),
		"a fraction":       strings.Replace(check(`,"inputs":true`), `{`, `{"inputs":{"amount":1.5},`, 1),
		"a deep input":     strings.Replace(check(`,"inputs":true`), `{`, `{"inputs":{"amount":{"a":1}},`, 1),
		"a huge number":    strings.Replace(check(`,"inputs":true`), `{`, `{"inputs":{"amount":9007199254740994},`, 1),
	} {
		for _, method := range []string{brokered.MethodCheck, brokered.MethodSplit} {
			got, err := brokered.Serve(t.Context(), never{t}, method, []byte(text))
			require.NoError(t, err)
			var out struct {
				Problem struct{ Kind string }
				Answers []any
			}
			require.NoError(t, json.Unmarshal(got, &out))
			require.Equal(t, "invalid", out.Problem.Kind, "%s: %s", name, got)
			require.Empty(t, out.Answers)
		}
	}
	_, err := brokered.Serve(t.Context(), never{t}, "/agentid.graph.v1.Graph/Write", []byte(check("")))
	require.Error(t, err)
}

// never is a graph that must not be asked.
type never struct{ t *testing.T }

func (n never) CheckBulk(context.Context, agentid.Zookie, []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	n.t.Error("the graph was asked")
	return "", nil, nil
}

func (n never) Residuals(context.Context, agentid.Zookie, []policy.Check) (agentid.Zookie, []policy.Residual, error) {
	n.t.Error("the graph was asked")
	return "", nil, nil
}

// broken is a broker that answers something else.
type broken string

func (b broken) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	*reply.(*[]byte) = []byte(b)
	return nil
}

func (broken) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, net.ErrClosed
}

// TestAnswersThatAreNotBelieved: each is an error, which denies.
func TestAnswersThatAreNotBelieved(t *testing.T) {
	asked := policy.Check{
		Resource: policytest.Must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe")), Permission: "refund",
		Subject: policytest.Must(agentid.AgentRef("acme", "a")),
	}
	const echo = `{"resource":"payments_account:acme/stripe","permission":"refund","subject":"agent:acme/a"}`
	const other = `{"resource":"payments_account:acme/stripe","permission":"read","subject":"agent:acme/a"}`
	for name, text := range map[string]string{
		"nothing":          ``,
		"no revision":      `{"answers":[{"check":` + echo + `,"verdict":"yes","holds":1}]}`,
		"too few":          `{"at":"z","answers":[]}`,
		"two":              `{"at":"z","answers":[{"check":` + echo + `,"verdict":"yes","holds":1},{"check":` + echo + `,"verdict":"yes","holds":1}]}`,
		"unknown field":    `{"at":"z","answers":[{"check":` + echo + `,"verdict":"yes","holds":1,"more":1}]}`,
		"to another check": `{"at":"z","answers":[{"check":` + other + `,"verdict":"yes","holds":1}]}`,
		"no such verdict":  `{"at":"z","answers":[{"check":` + echo + `,"verdict":"Yes","holds":1}]}`,
	} {
		c := newChecker(t, brokered.Config{Conn: broken(text)})
		_, got, err := c.CheckBulk(t.Context(), "", []policy.Check{asked})
		if err == nil { // the decider refuses an echo that is not what it asked
			require.True(t, got[0].Check != asked || got[0].Verdict != policy.VerdictYes, name)
		}
	}
	for name, text := range map[string]string{
		"of another check": `{"at":"z","parts":[{"check":` + other + `,"yes":true,"holds":1}]}`,
		"no caveat":        `{"at":"z","parts":[{"check":` + echo + `,"conditions":[{"caveat":"AAAA"}],"holds":1}]}`,
	} {
		c := newChecker(t, brokered.Config{Conn: broken(text)})
		_, _, err := c.Residuals(t.Context(), "", []policy.Check{asked})
		require.Error(t, err, name)
	}
	c := newChecker(t, brokered.Config{Conn: broken(`{"at":"z","parts":[{"check":` + echo + `,"yes":true,"holds":0}]}`)})
	_, parts, err := c.Residuals(t.Context(), "", []policy.Check{asked})
	require.NoError(t, err)
	require.False(t, parts[0].Expires().IsZero(), "a part whose end is not told has ended")
}

// TestOutages: nobody listens, or nobody answers; neither is a refusal.
func TestOutages(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	for _, addr := range []net.Addr{closed.Addr(), silent.Addr()} {
		conn := dial(t, addr.String(), insecure.NewCredentials())
		d, err := policy.New(policy.Config{Checker: newChecker(t, brokered.Config{Conn: conn, Timeout: 100 * time.Millisecond})})
		require.NoError(t, err)
		w := policytest.World{
			Alice: policytest.Must(agentid.PrincipalRef("acme", "alice")), Agents: []agentid.Ref{policytest.Must(agentid.AgentRef("acme", "ag-1"))},
			Account:  policytest.Must(agentid.ResourceRef("payments_account", "acme", "stripe")),
			Customer: policytest.Must(agentid.ResourceRef("payments_customer", "acme", "cus_1")),
			Token:    policytest.Must(agentid.TokenRef("acme", "jti-1")),
		}
		_, err = d.Decide(t.Context(), w.Question())
		require.Equal(t, policy.ReasonGraphUnavailable, agentid.ReasonOf(err), "%v", err)
	}
	_, err = brokered.New(brokered.Config{})
	require.Error(t, err)
}
