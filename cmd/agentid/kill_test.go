package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/adminclient"
)

// attempt is one refund or revocation that the harness made, and what came back.
type attempt struct {
	key   string // Idempotency-Key, and metadata at the upstream
	token client.Token
	jti   string
	acked bool
}

// killer drives the program into its failpoints and keeps what was acknowledged.
type killer struct {
	*site
	caller  *caller
	service adminclient.Service
	tokens  []string // jti of each token that left the broker
	refunds []*attempt
	revokes []*attempt
	n       int
}

// TestKillAtEveryStep kills the program with SIGKILL at every step of a mint, of a
// refund and of a revocation, starts it again over the same data, and holds:
//
//   - no effect at the upstream without an audit begin, and none twice;
//   - no token that left without its record;
//   - whatever was acknowledged is there;
//   - what was cut off is completed by the same request again (the hold is recovered), and
//     a revocation that was begun is completed by itself.
func TestKillAtEveryStep(t *testing.T) {
	s := newSite(t)
	s.start()
	k := &killer{site: s}
	k.caller = &caller{site: s, agent: s.acme()}
	k.service = s.service("stripe")
	s.kill()
	steps := []struct {
		name string
		work func() bool // false: the program is gone
	}{
		{"mint.authenticated", k.mint},
		{"mint.decided", k.mint},
		{"mint.signed", k.mint},
		{"mint.recorded", k.mint},
		{"effect.decided", k.refund},
		{"effect.reserved", k.refund},
		{"effect.facts", k.refund},
		{"effect.forwarded", k.refund},
		{"effect.settled", k.refund},
		{"revoke.intent", k.revoke},
		{"revoke.denied", k.revoke},
		{"revoke.edge", k.revoke},
		{"revoke.settled", k.revoke},
		{"revoke.told", k.revoke},
	}
	for round := range killRounds {
		for _, step := range steps {
			k.start(fmt.Sprintf("AGENTID_KILL_AT=%s:%d", step.name, 1+rand.IntN(3)))
			for step.work() {
			}
			k.died()
			k.start()
			k.complete()
			k.kill()
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	k.start()
	k.verify()
	t.Logf("%d kills at failpoints and as many in between; %d tokens, %d refunds, %d revocations",
		killRounds*len(steps), len(k.tokens), len(k.refunds), len(k.revokes))
}

// issue mints a token; false when the program is gone.
func (k *killer) issue() (client.Token, bool) {
	k.t.Helper()
	token, err := k.caller.agent.Mint(k.t.Context(), k.oneRefund())
	if err != nil {
		require.Equal(k.t, "broker_unreachable", agentid.ReasonOf(err), "%v\n%s", err, k.logs)
		return token, false
	}
	k.tokens = append(k.tokens, jti(k.t, token.Access))
	return token, true
}

func (k *killer) mint() bool {
	_, alive := k.issue()
	return alive
}

func (k *killer) refund() bool {
	token, alive := k.issue()
	if !alive {
		return false
	}
	k.n++
	a := &attempt{key: fmt.Sprintf("refund-%d", k.n), token: token, jti: jti(k.t, token.Access)}
	k.refunds = append(k.refunds, a)
	return k.send(a)
}

// send makes a refund, new or again. Any answer must be a success.
func (k *killer) send(a *attempt) bool {
	k.t.Helper()
	body := "charge=ch_ada&amount=1&metadata[n]=" + a.key
	status, answer, err := k.caller.do(k.t.Context(), http.MethodPost, "/v1/refunds", body, a.key, a.token)
	if err != nil {
		return false
	}
	require.Equal(k.t, http.StatusOK, status, answer)
	a.acked = true
	return true
}

func (k *killer) revoke() bool {
	token, alive := k.issue()
	if !alive {
		return false
	}
	a := &attempt{token: token, jti: jti(k.t, token.Access)}
	k.revokes = append(k.revokes, a)
	err := k.caller.agent.Revoke(k.t.Context(), token.Access)
	a.acked = err == nil
	if _, refused := errors.AsType[*client.Refusal](err); refused {
		require.NoError(k.t, err)
	}
	return a.acked
}

// complete sends again what was cut off, and looks at the last revocation.
func (k *killer) complete() {
	k.t.Helper()
	if n := len(k.refunds); n > 0 && !k.refunds[n-1].acked {
		require.True(k.t, k.send(k.refunds[n-1]), "the same request again is taken")
	}
	if n := len(k.revokes); n > 0 {
		a := k.revokes[n-1]
		begun := len(k.auditRows("kind=revoke&token="+a.jti)) > 0
		switch {
		case begun: // it is completed without anybody asking
			require.Eventually(k.t, func() bool { return !k.active(a.token) }, 30*time.Second, 20*time.Millisecond)
		case !a.acked: // the kill came before the intent
			require.NoError(k.t, k.caller.agent.Revoke(k.t.Context(), a.token.Access))
		}
		require.True(k.t, begun || !a.acked, "an acknowledged revocation without its record")
		a.acked = true
		require.False(k.t, k.active(a.token))
		status, answer, err := k.caller.do(k.t.Context(), http.MethodPost, "/v1/refunds", "charge=ch_ada&amount=1", "revoked-"+a.jti, a.token)
		require.NoError(k.t, err)
		require.Equal(k.t, http.StatusUnauthorized, status, answer)
		require.Contains(k.t, answer, "token_revoked")
	}
}

// active asks introspection, which asks the graph.
func (k *killer) active(token client.Token) bool {
	k.t.Helper()
	answer, err := k.service.Introspect(k.t.Context(), token.Access)
	require.NoError(k.t, err)
	var doc struct {
		Active bool `json:"active"`
	}
	require.NoError(k.t, json.Unmarshal(answer, &doc))
	return doc.Active
}

// verify compares everything that happened with the log and the upstream.
func (k *killer) verify() {
	k.t.Helper()
	issued, begun, finished := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, row := range k.auditRows("tenant=acme") {
		id, _ := row["token"].(string)
		allowed := row["decision"] == "allow"
		switch {
		case row["kind"] == "issue" && allowed:
			issued[id] = true
		case row["kind"] == "operation" && row["phase"] == "begin" && allowed:
			begun[id] = true
		case row["kind"] == "operation" && row["phase"] == "finish" && allowed:
			finished[id] = true
		}
	}
	for _, id := range k.tokens {
		require.True(k.t, issued[id], "a token left without its record")
	}
	effects, token := map[string]int{}, map[string]string{}
	for _, a := range k.refunds {
		token[a.key] = a.jti
	}
	for _, r := range k.sim.Refunds() {
		n := r.Metadata["n"]
		effects[n]++
		require.Contains(k.t, token, n, "an effect that nobody asked for")
		require.True(k.t, begun[token[n]], "an effect without an audit begin")
	}
	for _, a := range k.refunds {
		require.Equal(k.t, 1, effects[a.key], "%s took effect this often", a.key)
		require.True(k.t, finished[a.jti], "an acknowledged effect without its finish")
	}
	open := len(begun)
	for id := range begun {
		if finished[id] {
			open--
		}
	}
	require.Zero(k.t, open, "entries stayed open")
}
