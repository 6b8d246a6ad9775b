package agents_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

const details = `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_1","actions":["payments:refund"],"constraints":{"amount":{"max":4200,"currency":"usd"}}}]`

// mint asks for the usual token with the agent's own key.
func (w *world) mint(a actor) string {
	w.tb.Helper()
	token, doc := w.tryMint(a, url.Values{"grant_type": {"client_credentials"}, "authorization_details": {details}, "resource": {audience}})
	require.NotEmpty(w.tb, token, "%v", doc)
	return token
}

func (w *world) tryMint(a actor, form url.Values) (string, map[string]any) {
	w.tb.Helper()
	for range 2 {
		form.Set("client_assertion_type", clientauth.AssertionType)
		form.Set("client_assertion", must(clientauth.Sign(a.key.private, clientauth.Request{ClientID: a.ref.String(), Issuer: base, Now: w.now()})))
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/oauth2/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("DPoP", must(dpop.Sign(a.key.private, dpop.Request{Method: http.MethodPost, URL: base + "/oauth2/token", Nonce: w.nonce, Now: w.now()})))
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if nonce := rec.Header().Get("DPoP-Nonce"); nonce != "" {
			w.nonce = nonce
		}
		var doc map[string]any
		require.NoError(w.tb, json.Unmarshal(rec.Body.Bytes(), &doc), rec.Body.String())
		if doc["error"] == "use_dpop_nonce" {
			continue
		}
		token, _ := doc["access_token"].(string)
		return token, doc
	}
	w.tb.Fatal("no nonce is good")
	return "", nil
}

func (w *world) claims(token string) capability.Claims {
	w.tb.Helper()
	v := must(capability.NewVerifier(capability.VerifierConfig{Keys: w.broker.Fleet(), Base: base, Now: w.now}))
	return must(v.VerifyIssued(context.Background(), token))
}

// maximum is the largest refund that the token's first capability allows.
func (w *world) maximum(token string) int64 {
	w.tb.Helper()
	var c struct {
		Amount struct {
			Max int64 `json:"max"`
		} `json:"amount"`
	}
	require.NoError(w.tb, json.Unmarshal(must(w.claims(token).Capabilities[0].Constraints.MarshalJSON()), &c))
	return c.Amount.Max
}

// use decides on an operation with the token as a gateway does: by what the token says
// of itself, and the graph.
func (w *world) use(token string) error {
	w.tb.Helper()
	c := w.claims(token)
	floor, _, _, err := w.ledger.Floor(context.Background())
	if err != nil {
		return err
	}
	q := policy.Question{
		Stage: policy.StageEnforce, Principal: c.Context.Principal, OwnAuthority: c.Context.OwnAuthority, Tokens: must(c.Tokens()),
		Operation: operation, Permission: schema.PaymentsRefund, Barred: schema.PaymentsBarredRefund, Account: account(),
		Resources: []agentid.Ref{c.Capabilities[0].Resource, account()}, AtLeast: floor,
	}
	bounding := map[agentid.Ref]bool{}
	for _, ref := range c.Context.Attenuated {
		bounding[ref] = true
	}
	for _, ref := range c.Lineage() {
		q.Lineage = append(q.Lineage, policy.Member{Agent: ref, Attenuated: bounding[ref]})
	}
	return w.agreed(q)
}

// liveQuestion asks whether an agent with its lineage is live, and nothing else.
func (w *world) liveQuestion(line []ledger.Agent) policy.Question {
	q := policy.Question{Stage: policy.StageLive, Principal: line[0].Principal, Tokens: []agentid.Ref{must(agentid.TokenRef("acme", "none"))}}
	for _, member := range line {
		q.Lineage = append(q.Lineage, policy.Member{Agent: member.Ref})
	}
	return q
}
