package stages_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway/forward"
	"github.com/agentid-dev/agentid/gateway/limits"
	"github.com/agentid-dev/agentid/gateway/match"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
)

// stage is one step of the way of a request, or the whole of it. make prepares it and
// gives what is measured.
type stage struct {
	name string
	make func(tb testing.TB, w *world) func() error
}

// stages are in the order of the pipeline, then of the mint and of introspection.
func stages() []stage {
	return []stage{
		{"gateway/1-2 normalise and match", matching},
		{"gateway/3 verify a warm token", verifying(4096)},
		{"gateway/3 verify a fresh token", verifying(0)},
		{"gateway/3 verify a proof", proving},
		{"gateway/4 rates", rating},
		{"gateway/5 inputs of a refund", inputs},
		{"gateway/6 constraints", constraining},
		{"gateway/6 decide on a read, cold", deciding(cold, "payments:read_customer", "read", nil)},
		{"gateway/6 decide on a read, warm", deciding(warm, "payments:read_customer", "read", nil)},
		{"gateway/6 decide on a refund, cold", deciding(cold, "payments:refund", "refund", map[string]any{"amount": int64(100), "currency": "usd"})},
		{"gateway/6 decide on a refund of a new amount, warm", anotherAmount},
		{"gateway/7 reserve and settle", reserving},
		{"gateway/9 forward", forwarding},
		{"gateway/10 audit a read", auditing},
		{"gateway/all an allowed read", reading(false)},
		{"gateway/all an allowed read with a proof", reading(true)},
		{"mint/1 verify the assertion", asserting},
		{"mint/2 read authorization_details", details},
		{"mint/4 decide at issuance, cold", issuance(cold, "payments:refund", "refund")},
		{"mint/4 decide at issuance, warm", issuance(warm, "payments:read_customer", "read")},
		{"mint/4 decide at issuance with a condition open, warm", issuance(warm, "payments:refund", "refund")},
		{"mint/5 sign", signing},
		{"mint/5 record", recording},
		{"mint/all", minting},
		{"introspection/1 authenticate the service", authenticatingService},
		{"introspection/2 verify a warm token", verifyingIssued},
		{"introspection/3 is it live, warm", living},
		{"introspection/all", introspecting},
	}
}

func request(path, token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, resource+path, nil)
	r.RequestURI = path
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	return r
}

func matching(tb testing.TB, w *world) func() error {
	r := request("/v1/customers/cus_1", w.token(tb, false))
	return func() error {
		n, err := match.Normalise(r, "pay.example.com")
		if err != nil {
			return err
		}
		_, err = match.Match(w.kind, n, r)
		return err
	}
}

func verifying(cache int) func(tb testing.TB, w *world) func() error {
	return func(tb testing.TB, w *world) func() error {
		v, err := capability.NewVerifier(capability.VerifierConfig{Keys: w.fleet, Base: issuer, Now: time.Now, Cache: cache})
		require.NoError(tb, err)
		token := w.token(tb, false)
		return func() error {
			_, err := v.VerifyFor(tb.Context(), token, resource)
			return err
		}
	}
}

func proving(tb testing.TB, w *world) func() error {
	guard, err := dpop.NewGuard(dpop.GuardConfig{Now: time.Now})
	require.NoError(tb, err)
	target := resource + "/v1/customers/cus_1"
	token := w.token(tb, true)
	proof, err := w.proofs.Sign(dpop.Request{Method: "GET", URL: target, AccessToken: token, Nonce: guard.Nonce(), Now: time.Now()})
	require.NoError(tb, err)
	return func() error {
		p, err := dpop.Verify(proof, dpop.Expect{Method: "GET", URL: target, Now: time.Now(), AccessToken: token, Thumbprint: w.proofs.Thumbprint()})
		if err != nil {
			return err
		}
		return guard.Fresh(p)
	}
}

func rating(tb testing.TB, w *world) func() error {
	l := limits.New(limits.Tenant{PerMinute: 1e9, Burst: 1e8}, nil)
	ref := w.fleet.connectors[0].Ref
	subject := limits.Subject{Token: w.Token.String(), Agent: w.Agents[0].String(), Connector: ref.String(), Tenant: ref.Tenant()}
	return func() error { return l.Allow(tb.Context(), subject, w.fleet.connectors[0].Rates) }
}

func inputs(tb testing.TB, w *world) func() error {
	o, ok := w.kind.Operation("payments:refund")
	require.True(tb, ok)
	return func() error {
		_, err := o.Parse(nil, "", "charge=ch_1&amount=4200&reason=duplicate")
		return err
	}
}

func constraining(tb testing.TB, w *world) func() error {
	c := w.claims(tb, false).Capabilities[1].Constraints
	in := capability.Inputs{"amount": capability.Money{Amount: 4200, Currency: "usd"}}
	return func() error { return c.Check(in) }
}

func (w *world) question(operation, permission string, inputs map[string]any) policy.Question {
	return policy.Question{
		Stage: policy.StageEnforce, Lineage: []policy.Member{{Agent: w.Agents[0]}}, Principal: w.Alice, Tokens: []agentid.Ref{w.Token},
		Operation: operation, Permission: permission, Resources: []agentid.Ref{w.Customer, w.Account}, Account: w.Account,
		Inputs: inputs, AtLeast: w.Zookie,
	}
}

func cold(w *world) *policy.Decider { return w.decider }
func warm(w *world) *policy.Decider { return w.warm }

func deciding(by func(*world) *policy.Decider, operation, permission string, in map[string]any) func(tb testing.TB, w *world) func() error {
	return func(tb testing.TB, w *world) func() error {
		q, ctx := w.question(operation, permission, in), tb.Context()
		return func() error {
			_, err := by(w).Decide(ctx, q)
			return err
		}
	}
}

// anotherAmount asks with an input that was never asked with: the caveat is evaluated
// each time, and the graph's part is remembered.
func anotherAmount(tb testing.TB, w *world) func() error {
	ctx := tb.Context()
	var n int64
	return func() error {
		n++
		_, err := w.warm.Decide(ctx, w.question("payments:refund", "refund", map[string]any{"amount": 1 + n%5000, "currency": "usd"}))
		return err
	}
}

func record(id string, phase auditlog.Phase) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Operation, Phase: phase, Time: time.Now(), Request: id, Tenant: "acme", Agent: "agent:acme/ag-0",
		Principal: "principal:acme/alice", Operation: "payments:refund", Decision: auditlog.Allow,
	}
}

func reserving(tb testing.TB, w *world) func() error {
	var n atomic.Int64
	return func() error {
		id := fmt.Sprintf("r%d", n.Add(1))
		got, err := w.ledger.Reserve(tb.Context(), wire.Reserve{
			Token: w.Token, Agent: w.Agents[0], Uses: []wire.Use{{Token: w.Token, Capability: "c", Max: 1 << 40}}, IdempotencyKey: id, RequestDigest: "d",
			HoldKey: "acme/stripe/" + id, HoldAmount: 1, Record: record(id, auditlog.Begin), Deadline: time.Now().Add(time.Hour),
		})
		if err != nil {
			return err
		}
		return w.ledger.Settle(tb.Context(), wire.Settlement{ID: got.ID, Outcome: wire.Done, Record: record(id, auditlog.Finish)})
	}
}

func auditing(tb testing.TB, w *world) func() error {
	return func() error { return w.ledger.Append(tb.Context(), record("a", auditlog.Single), wire.Relaxed) }
}

func forwarding(tb testing.TB, w *world) func() error {
	f := forward.New(forward.Config{})
	tb.Cleanup(f.Close)
	base, err := url.Parse(w.fleet.connectors[0].Upstream)
	require.NoError(tb, err)
	o, _ := w.kind.Operation("payments:read_customer")
	call, err := o.Parse(map[string]string{"customer": "cus_1"}, "", "")
	require.NoError(tb, err)
	up := forward.Upstream{Base: base, AllowPrivate: true, Kind: w.kind, Secret: agentid.NewSecret(secret)}
	q := w.question("payments:read_customer", "read", nil)
	var allowed policy.Allowed
	return func() error {
		if allowed.StillGood(time.Now()) != nil {
			if allowed, err = w.decider.Decide(tb.Context(), q); err != nil {
				return err
			}
		}
		resp, err := f.Send(tb.Context(), allowed, w.Customer, up, forward.Request{Call: call, Header: http.Header{"Accept": {"application/json"}}})
		if err != nil {
			return err
		}
		_, err = resp.Body.Read(make([]byte, 512))
		return orClose(err, resp.Body.Close())
	}
}

// orClose passes on what failed in closing; the end of a body is no failure.
func orClose(_, closing error) error { return closing }

func reading(bound bool) func(tb testing.TB, w *world) func() error {
	return func(tb testing.TB, w *world) func() error {
		token := w.token(tb, bound)
		nonce := ""
		return func() error {
			for range 2 {
				r := request("/v1/customers/cus_1", token)
				if bound {
					proof, err := w.proofs.Sign(dpop.Request{Method: "GET", URL: resource + "/v1/customers/cus_1", AccessToken: token, Nonce: nonce, Now: time.Now()})
					if err != nil {
						return err
					}
					r.Header.Set("Authorization", "DPoP "+token)
					r.Header.Set("DPoP", proof)
				}
				rec := httptest.NewRecorder()
				w.gateway.ServeHTTP(rec, r)
				nonce = rec.Header().Get("DPoP-Nonce")
				if rec.Code == http.StatusOK {
					return nil
				}
				if rec.Code != http.StatusUnauthorized {
					return fmt.Errorf("answered %d: %s", rec.Code, rec.Body)
				}
			}
			return fmt.Errorf("no proof is taken")
		}
	}
}

func asserting(tb testing.TB, w *world) func() error {
	agent := w.Agents[0].String()
	assertion, err := clientauth.Sign(w.agent, clientauth.Request{ClientID: agent, Issuer: issuer, Now: time.Now()})
	require.NoError(tb, err)
	return verifyAssertion(tb, w, assertion)
}

func details(tb testing.TB, w *world) func() error {
	raw, err := json.Marshal(w.claims(tb, false).Capabilities)
	require.NoError(tb, err)
	return func() error {
		_, err := capability.ParseRequest(raw)
		return err
	}
}

func signing(tb testing.TB, w *world) func() error {
	s, err := capability.NewSigner(w.signing)
	require.NoError(tb, err)
	claims := w.claims(tb, true)
	return func() error {
		_, err := s.Sign(claims)
		return err
	}
}

func recording(tb testing.TB, w *world) func() error {
	var n atomic.Int64
	return func() error {
		now, id := time.Now(), fmt.Sprintf("t%d", n.Add(1))
		ref, err := agentid.TokenRef("acme", id)
		if err != nil {
			return err
		}
		return w.ledger.RecordIssue(tb.Context(), ledger.Issue{
			Token:     ledger.Token{Ref: ref, Agent: w.Agents[0], Principal: w.Alice, Audience: resource, Issued: now, Expires: now.Add(time.Minute)},
			Assertion: ledger.Assertion{Client: w.Agents[0], ID: id, Expires: now.Add(time.Minute)},
			Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Tenant: "acme", Token: id, Decision: auditlog.Allow},
		})
	}
}

// BenchmarkStages: go test ./loadtest/stages -run '^$' -bench Stages -benchmem
func BenchmarkStages(b *testing.B) {
	w := newWorld(b)
	for _, s := range stages() {
		b.Run(s.name, func(b *testing.B) {
			do := s.make(b, w)
			b.ReportAllocs()
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
