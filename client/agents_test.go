package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
)

var (
	reading   = client.Template("read-customer", map[string]any{"customer": "cus_ada"})
	refunding = client.Template("refund-customer", map[string]any{"customer": "cus_ada", "max_amount": 100})
)

func refused(t *testing.T, err error, reason string) {
	t.Helper()
	r, ok := errors.AsType[*client.Refusal](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, reason, r.Reason, "%v", err)
}

func TestSpawnRefusalsAreToldAndReserveNothing(t *testing.T) {
	w := newWorld(t)
	parent := w.agent(t, "planner")
	for reason, req := range map[string]client.SpawnRequest{
		"child_type_not_allowed":  {Type: "planner"},
		"independent_not_allowed": {Type: "refund-agent", Independent: true},
		"agent_type_unknown":      {Type: "no-such"},
		"lifetime_exceeds_parent": {Type: "refund-agent", Lifetime: 2 * time.Hour},
		"template_unknown":        {Type: "refund-agent", CeilingTemplates: client.Template("no-such", nil).Templates},
		"key_in_use":              {Type: "refund-agent", Key: parent.Key()},
	} {
		_, err := parent.Spawn(t.Context(), req)
		refused(t, err, reason)
	}
	_, err := parent.Spawn(t.Context(), client.SpawnRequest{Type: "refund-agent", Name: "a/b"})
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "never sent")

	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = parent.Spawn(t.Context(), client.SpawnRequest{Type: "refund-agent"}) })
	}
	wg.Wait()
	spawned := 0
	for _, err := range errs {
		if err == nil {
			spawned++
			continue
		}
		refused(t, err, "fan_out_exceeded")
	}
	require.Equal(t, 3, spawned, "max_children, whoever comes first")
}

func TestRotateTakesTheOldKeyAndItsTokensAway(t *testing.T) {
	w := newWorld(t)
	agent := w.agent(t, "planner")
	old, err := client.New(client.Config{Issuer: w.Issuer, Agent: agent.Agent(), Key: agent.Key()})
	require.NoError(t, err)
	before, err := agent.Token(t.Context(), reading)
	require.NoError(t, err)
	again, err := agent.Token(t.Context(), reading)
	require.NoError(t, err)
	require.Equal(t, before.Access, again.Access, "the token at hand")

	next, err := client.GenerateKey("ES256")
	require.NoError(t, err)
	require.NoError(t, agent.Rotate(t.Context(), next))
	require.Equal(t, next.ID(), agent.Key().ID())
	after, err := agent.Token(t.Context(), reading)
	require.NoError(t, err)
	require.NotEqual(t, before.Access, after.Access, "bound to the old key")
	_, err = old.Mint(t.Context(), reading)
	require.Error(t, err)
	refused(t, agent.Rotate(t.Context(), old.Key()), "key_in_use")
	require.Equal(t, next.ID(), agent.Key().ID())
}

func TestRetirementEndsTheDescendants(t *testing.T) {
	w := newWorld(t)
	parent, stranger := w.agent(t, "planner"), w.agent(t, "stranger")
	child, err := parent.Spawn(t.Context(), client.SpawnRequest{Type: "refund-agent"})
	require.NoError(t, err)
	_, err = child.Mint(t.Context(), reading)
	require.NoError(t, err)
	_, err = stranger.RetireChild(t.Context(), child.Agent())
	refused(t, err, "agent_unknown")
	_, err = child.RetireChild(t.Context(), parent.Agent())
	refused(t, err, "agent_unknown")
	change, err := parent.Retire(t.Context())
	require.NoError(t, err)
	require.Equal(t, client.Change{State: "retired", Changed: true}, change)
	_, err = child.Mint(t.Context(), reading)
	require.Error(t, err)
	_, err = stranger.Mint(t.Context(), reading)
	require.NoError(t, err)
}

func TestExchangeByTransport(t *testing.T) {
	w := newWorld(t)
	parent := w.agent(t, "planner")
	child, err := parent.Spawn(t.Context(), client.SpawnRequest{Type: "refund-agent"})
	require.NoError(t, err)
	source := child.ExchangeSource(parent.Source(refunding).Token, client.TokenRequest{})
	sdk := &http.Client{Transport: &client.Transport{Source: source}}
	refund := func(key string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Resource+"/v1/refunds", bytes.NewReader([]byte("charge=ch_ada&amount=60")))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Idempotency-Key", key)
		resp, err := sdk.Do(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Equal(t, http.StatusOK, refund("k1"))
	require.Equal(t, http.StatusForbidden, refund("k2"), "the parent's one use is used")
	require.Len(t, w.sim.Refunds(), 1)

	_, err = parent.Exchange(t.Context(), mustToken(t, child, refunding), client.TokenRequest{})
	refused(t, err, "not_a_child")
	_, err = child.Exchange(t.Context(), client.Token{}, refunding)
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
}

func mustToken(t *testing.T, c *client.Client, req client.TokenRequest) client.Token {
	t.Helper()
	token, err := c.Token(t.Context(), req)
	require.NoError(t, err)
	return token
}

func TestRevokeAndGrantedCapabilities(t *testing.T) {
	w := newWorld(t)
	agent := w.agent(t, "planner")
	token := mustToken(t, agent, refunding)
	require.Equal(t, w.Resource, token.Audience)
	granted, err := token.Capabilities()
	require.NoError(t, err)
	require.Len(t, granted, 1)
	require.Equal(t, []string{"payments:refund"}, granted[0].Operations)
	full, err := json.Marshal(granted)
	require.NoError(t, err)
	require.Contains(t, string(full), `"max":100`)
	same := mustToken(t, agent, client.Capabilities(granted...))
	require.Equal(t, token.Scope, same.Scope)

	require.NoError(t, agent.Revoke(t.Context(), token.Access))
	child, err := agent.Spawn(t.Context(), client.SpawnRequest{Type: "refund-agent"})
	require.NoError(t, err)
	_, err = child.Exchange(t.Context(), token, client.TokenRequest{})
	refused(t, err, "subject_token_revoked")
	_, err = agent.Token(t.Context(), client.TokenRequest{Details: json.RawMessage(`[]`), Templates: refunding.Templates})
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
}
