package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/go-chi/chi/v5"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/admin"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
	"github.com/agentid-dev/agentid/server/signer"
	"github.com/agentid-dev/agentid/server/trail"
)

// rig is the API over a real ledger and a real graph.
type rig struct {
	t       *testing.T
	service *admin.Service
	ledger  *ledger.Ledger
	engine  *engine.Engine
	graph   *flaky
	url     string
	token   string
	reloads int
	hub     *hub.Hub
	// flushing gets one for each wait for the gateways that begins.
	flushing chan struct{}
	key      json.RawMessage
	expires  string
}

// flaky is the graph, which can be made to fail as if it went away.
type flaky struct {
	v1.PermissionsServiceClient
	fail bool
	left int // with fail: writes that go through before it fails
}

func (f *flaky) WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, opts ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error) {
	if f.left--; f.fail && f.left < 0 {
		return nil, errors.New("the graph is away")
	}
	return f.PermissionsServiceClient.WriteRelationships(ctx, in, opts...)
}

func (r *rig) Reload(context.Context) error { r.reloads++; return nil }

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, ctx := t.TempDir(), t.Context()
	key, _, err := seal.FileOrNew(filepath.Join(dir, "seal.key"))
	require.NoError(t, err)
	l, err := ledger.Open(ctx, ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	store, err := graphstore.Open(ctx, graphstore.Config{Path: filepath.Join(dir, "graph.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	e, err := engine.Start(ctx, engine.Config{Datastore: store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	_, _, err = schema.Apply(ctx, e.Schema())
	require.NoError(t, err)
	keys, err := signer.New(ctx, signer.Config{Store: l, TokenLifetime: time.Hour, PublishBefore: time.Minute})
	require.NoError(t, err)
	refusals, err := trail.New(trail.Config{Audit: l})
	require.NoError(t, err)
	r := &rig{t: t, ledger: l, engine: e, graph: &flaky{PermissionsServiceClient: e.Permissions()}}
	gateways, err := hub.New(hub.Config{Newer: l.Newer})
	require.NoError(t, err)
	r.hub, r.flushing = gateways, make(chan struct{})
	revoker, err := revocation.NewRevoker(revocation.RevokerConfig{Ledger: l, Graph: r.graph, Hub: gateways, Settled: r.Reload})
	require.NoError(t, err)
	lives, err := agents.New(agents.Config{Ledger: l, Graph: r.graph, Revoker: revoker})
	require.NoError(t, err)
	issuers, err := discovery.NewIssuers("https://broker.example")
	require.NoError(t, err)
	workloads, err := enrol.New(enrol.Config{Ledger: l, Agents: lives, Issuers: issuers})
	require.NoError(t, err)
	r.service, err = admin.New(admin.Config{
		Workloads: workloads,
		Ledger:    l, Graph: r.graph, Schema: e.Schema(), Signer: keys, Revoker: revoker, Fleet: r, Hub: flushed{gateways, r.flushing}, Agents: lives,
		Kinds: connectors.Builtin(), Refusals: refusals,
	})
	require.NoError(t, err)
	router := chi.NewRouter()
	router.Route("/admin/v1", r.service.Routes)
	srv := httptest.NewServer(httpx.WithRequestID(router))
	t.Cleanup(srv.Close)
	_, secret, err := l.BootstrapAdmin(ctx, "first")
	require.NoError(t, err)
	r.url, r.token = srv.URL, secret.Reveal()
	agentKey, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	r.key = agentKey.Public()
	r.expires = time.Now().Add(time.Hour).UTC().Truncate(time.Second).Format(time.RFC3339)
	return r
}

// flushed is the hub, which tells when somebody waits for the gateways.
type flushed struct {
	*hub.Hub
	begun chan<- struct{}
}

func (f flushed) Flush(ctx context.Context) (hub.Outcome, error) {
	select {
	case f.begun <- struct{}{}:
	default:
	}
	return f.Hub.Flush(ctx)
}

// newKey makes a public key.
func newKey(t *testing.T) json.RawMessage {
	t.Helper()
	key, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	return key.Public()
}

// issue records a token of ag-1 as the mint would.
func (r *rig) issue(jti string, details ...string) {
	r.t.Helper()
	ref := func(text string) agentid.Ref {
		out, err := agentid.ParseRef(text)
		require.NoError(r.t, err)
		return out
	}
	now := time.Now()
	require.NoError(r.t, r.ledger.RecordIssue(r.t.Context(), ledger.Issue{
		Token: ledger.Token{
			Ref: ref("token:acme/" + jti), Agent: ref("agent:acme/ag-1"), Principal: ref("principal:acme/alice"),
			Audience: "http://127.0.0.1:7421", Issued: now, Expires: now.Add(5 * time.Minute), Details: json.RawMessage(strings.Join(details, "")),
		},
		Assertion: ledger.Assertion{Client: ref("agent:acme/ag-1"), ID: jti, Expires: now.Add(time.Minute)},
		Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Request: jti, Decision: auditlog.Allow},
	}))
}

// call makes a call and gives its status and answer.
func (r *rig) call(method, path string, in any) (int, map[string]any) {
	r.t.Helper()
	return r.callAs(r.token, method, path, in)
}

func (r *rig) callAs(token, method, path string, in any) (int, map[string]any) {
	r.t.Helper()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		require.NoError(r.t, err)
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+"/admin/v1"+path, body)
	require.NoError(r.t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	out := map[string]any{}
	if len(data) > 0 {
		require.NoError(r.t, json.Unmarshal(data, &out), string(data))
	}
	return resp.StatusCode, out
}

type doc = map[string]any

// acme is a tenant with everything.
func (r *rig) acme() []doc {
	return []doc{ // on purpose not in the order of writing
		{"kind": "agent", "tenant": "acme", "name": "ag-1", "type": "refunds", "principal": "alice", "key": r.key, "expires": r.expires},
		{"kind": "tenant", "name": "acme", "display": "Acme"},
		{"kind": "grant", "resource": "payments_account:acme/stripe", "relation": "refunder", "subject": "agent_type:acme/refunds", "caveat": "payments_limit", "context": doc{"max_amount": 5000, "currencies": []string{"usd"}}},
		{"kind": "grant", "resource": "payments_account:acme/stripe", "relation": "refunder", "subject": "principal:acme/alice"},
		{
			"kind": "template", "tenant": "acme", "name": "refund-customer", "connector": "stripe", "resource": "payments_customer:{customer}", "operations": []string{"payments:refund"},
			"arguments":   doc{"customer": doc{"type": "id"}, "max_amount": doc{"type": "integer", "minimum": 1}},
			"constraints": doc{"amount": doc{"max": "{max_amount}", "currency": "usd"}, "uses": doc{"max": 1}},
		},
		{"kind": "agent_type", "tenant": "acme", "name": "refunds", "launchers": []string{"alice"}},
		{"kind": "connector", "tenant": "acme", "name": "stripe", "type": "payments", "resource": "http://127.0.0.1:7421", "upstream": "http://127.0.0.1:12111", "allow_private_upstream": true, "credential": "sk_test_1"},
		{"kind": "principal", "tenant": "acme", "name": "alice", "type": "human", "issuer": "https://idp.example.com", "subject": "a1"},
	}
}

func (r *rig) apply(dry bool, docs ...doc) (int, map[string]any) {
	r.t.Helper()
	set := []doc{}
	for i, d := range docs {
		set = append(set, doc{"source": "acme.yaml", "line": 10*i + 1, "object": d})
	}
	path := "/apply"
	if dry {
		path += "?dry_run=true"
	}
	return r.call(http.MethodPost, path, doc{"documents": set})
}

func (r *rig) actions(plan map[string]any) map[string]int {
	out := map[string]int{}
	for _, c := range plan["changes"].([]any) {
		out[c.(map[string]any)["action"].(string)]++
	}
	return out
}

// live asks the graph whether the agent is live now.
func (r *rig) live(name string) bool {
	r.t.Helper()
	subject := &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "agent", ObjectId: "acme/" + name}}
	answer, err := r.engine.Permissions().CheckPermission(r.t.Context(), &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Resource:    subject.Object, Permission: schema.AgentLive, Subject: subject,
	})
	require.NoError(r.t, err)
	return answer.GetPermissionship() == v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION
}

func (r *rig) auditRows(operation string) []auditlog.Record {
	r.t.Helper()
	page, err := r.ledger.Audit().Query(r.t.Context(), auditlog.Query{Limit: 1000})
	require.NoError(r.t, err)
	var out []auditlog.Record
	for _, rec := range page.Records {
		if rec.Operation == operation {
			out = append(out, rec)
		}
	}
	return out
}

func TestApplyTwiceChangesNothingTheSecondTime(t *testing.T) {
	r := newRig(t)
	status, plan := r.apply(true, r.acme()...)
	require.Equal(t, http.StatusOK, status, plan)
	require.Equal(t, map[string]int{"create": 8}, r.actions(plan))
	status, _ = r.call(http.MethodGet, "/tenants/acme", nil)
	require.Equal(t, http.StatusNotFound, status, "a dry run writes nothing")
	require.Empty(t, r.auditRows("tenant.create"))

	status, plan = r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status, plan)
	require.True(t, r.live("ag-1"))
	require.Len(t, r.auditRows("agent.register"), 2, "begin and finish")
	require.Positive(t, r.reloads)
	size, err := r.ledger.Audit().Size(t.Context())
	require.NoError(t, err)

	status, plan = r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status, plan)
	require.Equal(t, map[string]int{"unchanged": 8}, r.actions(plan), plan)
	again, err := r.ledger.Audit().Size(t.Context())
	require.NoError(t, err)
	require.Equal(t, size, again, "nothing was written")
}

func TestDryRunShowsEachFieldAndNoSecret(t *testing.T) {
	r := newRig(t)
	docs := r.acme()
	_, _ = r.apply(false, docs...)
	docs[1]["display"] = "Acme Inc"
	docs[2]["context"] = doc{"max_amount": 9000, "currencies": []string{"usd"}}
	docs[6]["credential"] = "sk_test_2"
	docs[6]["allow_bearer"] = true
	status, plan := r.apply(true, docs...)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]int{"update": 3, "unchanged": 5}, r.actions(plan))
	text, err := json.Marshal(plan)
	require.NoError(t, err)
	require.Contains(t, string(text), `{"field":"display","from":"Acme","to":"Acme Inc"}`)
	require.Contains(t, string(text), `{"field":"credential","to":"[redacted]"}`)
	require.Contains(t, string(text), `9000`)
	require.NotContains(t, string(text), "sk_test")

	_, tenant := r.call(http.MethodGet, "/tenants/acme", nil)
	require.Equal(t, "Acme", tenant["display"])
	_, plan = r.apply(false, docs...)
	require.Equal(t, map[string]int{"update": 3, "unchanged": 5}, r.actions(plan))
	_, plan = r.apply(true, docs...)
	require.Equal(t, map[string]int{"unchanged": 8}, r.actions(plan))
	_, c := r.call(http.MethodGet, "/tenants/acme/connectors/stripe", nil)
	require.Equal(t, true, c["credential_set"])
	require.NotContains(t, c, "credential")
}

func TestAFaultAnywhereRefusesTheWholeSet(t *testing.T) {
	for name, tc := range map[string]struct {
		index  int
		change doc
		field  string
	}{
		"unknown field":          {1, doc{"nmae": "x"}, "nmae"},
		"unknown kind":           {1, doc{"kind": "tennant"}, "kind"},
		"no tenant":              {7, doc{"tenant": "other"}, "tenant"},
		"bad name":               {1, doc{"name": "ac/me"}, "name"},
		"unknown principal type": {7, doc{"type": "robot"}, "type"},
		"unknown agent type":     {0, doc{"type": "nothing"}, "type"},
		"unknown principal":      {0, doc{"principal": "bob"}, "principal"},
		"expired agent":          {0, doc{"expires": "2020-01-01T00:00:00Z"}, "expires"},
		"no expiry":              {0, doc{"expires": nil}, "expires"},
		"private key":            {0, doc{"key": doc{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}}, "key"},
		"weak key":               {0, doc{"key": doc{"kty": "OKP", "crv": "Ed25519", "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}, "key"},
		"no such relation":       {2, doc{"relation": "owner"}, "relation"},
		"a fixed relation":       {2, doc{"relation": "enabled"}, "relation"},
		"a base type":            {2, doc{"resource": "tenant:acme"}, "resource"},
		"no such account":        {2, doc{"resource": "payments_account:acme/other"}, "resource"},
		"subject elsewhere":      {2, doc{"subject": "agent_type:other/refunds"}, "subject"},
		"a token as subject":     {2, doc{"subject": "token:acme/x"}, "subject"},
		"no such caveat":         {2, doc{"caveat": "nothing"}, "caveat"},
		"missing bound":          {2, doc{"context": doc{"max_amount": 5000}}, "context.currencies"},
		"wrong bound":            {2, doc{"context": doc{"max_amount": "x", "currencies": []string{"usd"}}}, "context.max_amount"},
		"fractional bound":       {2, doc{"context": doc{"max_amount": 0.5, "currencies": []string{"usd"}}}, "caveat.max_amount"},
		"bound of the request":   {2, doc{"context": doc{"max_amount": 1, "amount": 1, "currencies": []string{"usd"}}}, "context.amount"},
		"unknown bound":          {2, doc{"context": doc{"max_amount": 1, "x": 1, "currencies": []string{"usd"}}}, "context.x"},
		"unknown operation":      {4, doc{"operations": []string{"payments:steal"}}, "operations[0]"},
		"unknown input":          {4, doc{"constraints": doc{"amount": doc{"max": "{max_amount}", "currency": "usd"}, "colour": doc{"is": "red"}}}, "constraints.colour"},
		"unused argument":        {4, doc{"constraints": doc{}}, "arguments.max_amount"},
		"unknown connector":      {4, doc{"connector": "other"}, "connector"},
		"connector without type": {6, doc{"type": "nothing"}, "type"},
		"upstream missing":       {6, doc{"upstream": ""}, "upstream"},
		"state is not declared":  {0, doc{"state": "active"}, "state"},
		"unknown launcher":       {5, doc{"launchers": []string{"bob"}}, "launchers[0]"},
		"a bad ceiling":          {5, doc{"ceiling": []doc{{"type": "nothing"}}}, "ceiling"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			docs := r.acme()
			for k, v := range tc.change {
				docs[tc.index][k] = v
			}
			status, answer := r.apply(false, docs...)
			require.Equal(t, http.StatusBadRequest, status, answer)
			found := false
			for _, f := range answer["faults"].([]any) {
				fault := f.(map[string]any)
				if fault["document"] == float64(tc.index) {
					require.Equal(t, tc.field, fault["field"], fault)
					require.Equal(t, "acme.yaml", fault["source"])
					require.Equal(t, float64(10*tc.index+1), fault["line"])
					found = true
				}
			}
			require.True(t, found, answer)
			tenants, err := r.ledger.Tenants(t.Context(), ledger.Page{})
			require.NoError(t, err)
			require.Empty(t, tenants, "nothing was written")
		})
	}
}

func TestTheSameObjectTwiceIsAFault(t *testing.T) {
	r := newRig(t)
	status, answer := r.apply(false, doc{"kind": "tenant", "name": "a"}, doc{"kind": "tenant", "name": "a"})
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer["detail"], "declared twice")
}

func TestACrashHalfWayLeavesNothingUsableAndTheSameApplyCompletesIt(t *testing.T) {
	r := newRig(t)
	r.graph.fail = true
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusServiceUnavailable, status)
	_, err := r.ledger.Tenant(t.Context(), "acme")
	require.NoError(t, err, "the row came first")
	r.graph.fail = false
	_, plan := r.apply(true, r.acme()...)
	require.Equal(t, map[string]int{"create": 7, "update": 1}, r.actions(plan), "the tenant's edge is missing")
	status, _ = r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	require.True(t, r.live("ag-1"))
	_, plan = r.apply(true, r.acme()...)
	require.Equal(t, map[string]int{"unchanged": 8}, r.actions(plan))
}

func TestFreezeAndUnfreezeByReason(t *testing.T) {
	r := newRig(t)
	_, _ = r.apply(false, r.acme()...)
	agent := "/tenants/acme/agents/ag-1"
	for _, path := range []string{agent, "/tenants/acme", "/tenants/acme/principals/alice", "/tenants/acme/agent-types/refunds"} {
		status, state := r.call(http.MethodPost, path+"/freeze", doc{"reason": "operator"})
		require.Equal(t, http.StatusOK, status, state)
		require.Equal(t, "frozen", state["state"])
		require.False(t, r.live("ag-1"), path)
		require.Equal(t, true, state["changed"])
		_, state = r.call(http.MethodPost, path+"/freeze", doc{"reason": "operator"})
		require.Equal(t, false, state["changed"])
		require.Equal(t, "already_frozen", state["information"])
		status, state = r.call(http.MethodPost, path+"/unfreeze", doc{"reason": "another"})
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, false, state["changed"])
		require.Equal(t, "frozen_by_other_reason", state["information"])
		require.Equal(t, []any{"operator"}, state["still_frozen_by"])
		require.False(t, r.live("ag-1"), path)
		status, state = r.call(http.MethodPost, path+"/unfreeze", doc{"reason": "operator"})
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "active", state["state"])
		if strings.Contains(path, "principals") {
			require.False(t, r.live("ag-1"), "its owner was lost: it does not come back by itself")
			_, state = r.call(http.MethodPost, agent+"/unfreeze", doc{"reason": "owner_lost"})
			require.Equal(t, "active", state["state"])
		}
		require.True(t, r.live("ag-1"), path)
	}
	_, _ = r.call(http.MethodPost, agent+"/freeze", doc{"reason": "operator"})
	_, _ = r.call(http.MethodPost, agent+"/freeze", doc{"reason": "signal"})
	_, _ = r.call(http.MethodPost, agent+"/unfreeze", doc{"reason": "operator"})
	require.False(t, r.live("ag-1"), "one reason is left")
	_, plan := r.apply(false, r.acme()...)
	require.Equal(t, map[string]int{"unchanged": 8}, r.actions(plan), "an apply does not thaw")
	require.False(t, r.live("ag-1"))
	_, _ = r.call(http.MethodPost, agent+"/unfreeze", doc{"reason": "signal"})
	require.True(t, r.live("ag-1"))

	_, epoch, _, err := r.ledger.Floor(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 10, epoch, "every freeze raised the floor")
	status, _ := r.call(http.MethodPost, agent+"/freeze", doc{"reason": ""})
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = r.call(http.MethodPost, "/tenants/acme/agents/ag-9/freeze", doc{"reason": "x"})
	require.Equal(t, http.StatusNotFound, status)
}

func TestAnOutageDuringAFreezeIsReplayed(t *testing.T) {
	r := newRig(t)
	_, _ = r.apply(false, r.acme()...)
	r.graph.fail = true
	status, _ := r.call(http.MethodPost, "/tenants/acme/agents/ag-1/freeze", doc{"reason": "operator"})
	require.Equal(t, http.StatusServiceUnavailable, status, "not acknowledged")
	require.True(t, r.live("ag-1"))
	require.Error(t, r.service.Replay(t.Context()))
	r.graph.fail = false
	require.NoError(t, r.service.Replay(t.Context()))
	require.False(t, r.live("ag-1"))
	open, err := r.ledger.OpenRevocations(t.Context())
	require.NoError(t, err)
	require.Empty(t, open)
}

func TestRetiredIsForGood(t *testing.T) {
	r := newRig(t)
	_, _ = r.apply(false, r.acme()...)
	status, state := r.call(http.MethodPost, "/tenants/acme/agents/ag-1/retire", doc{})
	require.Equal(t, http.StatusOK, status, state)
	require.Equal(t, "retired", state["state"])
	require.False(t, r.live("ag-1"))
	status, answer := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusConflict, status, answer)
	require.Equal(t, "agent_retired", answer["reason"])
	require.False(t, r.live("ag-1"))
}

func TestAnAgentIsWrittenOnce(t *testing.T) {
	r := newRig(t)
	docs := r.acme()
	_, _ = r.apply(false, docs...)
	docs[0]["expires"] = time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)
	status, answer := r.apply(true, docs...)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "agent_immutable", answer["reason"])
	require.Equal(t, "expires", answer["field"])
}

func TestGrantsAreListedAndTakenAway(t *testing.T) {
	r := newRig(t)
	_, _ = r.apply(false, r.acme()...)
	status, list := r.call(http.MethodGet, "/tenants/acme/grants", nil)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, list["items"], 2)
	gone := "/tenants/acme/grants?resource=payments_account:acme/stripe&relation=refunder&subject=principal:acme/alice"
	status, _ = r.call(http.MethodDelete, gone, nil)
	require.Equal(t, http.StatusNoContent, status)
	status, _ = r.call(http.MethodDelete, gone, nil)
	require.Equal(t, http.StatusNotFound, status)
	status, _ = r.call(http.MethodDelete, "/tenants/acme/grants?resource=payments_account:acme/stripe&relation=tenant&subject=tenant:acme", nil)
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = r.call(http.MethodDelete, "/tenants/other/grants?resource=payments_account:acme/stripe&relation=refunder&subject=agent_type:acme/refunds", nil)
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = r.call(http.MethodPost, "/tenants/acme/grants", r.acme()[3])
	require.Equal(t, http.StatusCreated, status)
	_, list = r.call(http.MethodGet, "/tenants/acme/grants", nil)
	require.Len(t, list["items"], 2)
}

func TestDeleteRefusesWhatIsInUseAndKeepsItUsable(t *testing.T) {
	r := newRig(t)
	_, _ = r.apply(false, r.acme()...)
	for _, path := range []string{"/tenants/acme", "/tenants/acme/principals/alice", "/tenants/acme/connectors/stripe"} {
		status, answer := r.call(http.MethodDelete, path, nil)
		require.Equal(t, http.StatusConflict, status, answer)
	}
	require.True(t, r.live("ag-1"))
	_, plan := r.apply(true, r.acme()...)
	require.Equal(t, map[string]int{"unchanged": 8}, r.actions(plan))
	status, _ := r.call(http.MethodDelete, "/tenants/acme/templates/refund-customer", nil)
	require.Equal(t, http.StatusNoContent, status)
	status, _ = r.call(http.MethodDelete, "/tenants/acme/connectors/stripe", nil)
	require.Equal(t, http.StatusNoContent, status)
	status, _ = r.call(http.MethodGet, "/tenants/acme/connectors/stripe", nil)
	require.Equal(t, http.StatusNotFound, status)

	// Each is on record before its edges go, and closed with how it ended.
	var entries []string
	for _, row := range r.auditRows("connector.delete") {
		entries = append(entries, string(row.Phase)+" "+row.Decision.String())
	}
	require.Equal(t, []string{"begin allow", "finish deny", "begin allow", "finish allow"}, entries)
}

func TestOnlyAnAdministratorsCredentialIsTaken(t *testing.T) {
	r := newRig(t)
	for name, token := range map[string]string{"none": "", "wrong": "agentid_admin_x_y", "prefix": r.token[:20]} {
		status, answer := r.callAs(token, http.MethodGet, "/tenants", nil)
		require.Equal(t, http.StatusUnauthorized, status, name)
		require.NotEmpty(t, answer["reason"])
	}
	_, _ = r.apply(false, r.acme()...)
	status, secret := r.call(http.MethodPost, "/tenants/acme/connectors/stripe/secrets", doc{})
	require.Equal(t, http.StatusCreated, status)
	status, _ = r.callAs(secret["secret"].(string), http.MethodGet, "/tenants", nil)
	require.Equal(t, http.StatusUnauthorized, status, "a service's secret is no administrator's")
	_, list := r.call(http.MethodGet, "/tenants/acme/connectors/stripe/secrets", nil)
	require.NotContains(t, list["items"].([]any)[0], "secret", "shown once")

	old := r.token
	status, fresh := r.call(http.MethodPost, "/admins/rotate", doc{})
	require.Equal(t, http.StatusCreated, status)
	status, _ = r.callAs(old, http.MethodGet, "/tenants", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = r.callAs(fresh["secret"].(string), http.MethodGet, "/tenants", nil)
	require.Equal(t, http.StatusOK, status)
}

func TestKeysTokensSchemaAndAudit(t *testing.T) {
	r := newRig(t)
	_, _ = r.apply(false, r.acme()...)
	status, staged := r.call(http.MethodPost, "/keys", doc{"alg": "ES256"})
	require.Equal(t, http.StatusCreated, status, staged)
	kid := staged["kid"].(string)
	status, _ = r.call(http.MethodPost, "/keys/"+kid+"/activate", doc{})
	require.Equal(t, http.StatusConflict, status, "verifiers may not know it yet")
	status, _ = r.call(http.MethodPost, "/keys/"+kid+"/activate", doc{"now": true})
	require.Equal(t, http.StatusOK, status)
	status, _ = r.call(http.MethodPost, "/keys/"+kid+"/retire", doc{})
	require.Equal(t, http.StatusConflict, status, "the active key stays")

	status, list := r.call(http.MethodGet, "/tenants/acme/tokens?agent=ag-1", nil)
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, list["items"])
	r.issue("abc")
	status, receipt := r.call(http.MethodDelete, "/tenants/acme/tokens/abc", nil)
	require.Equal(t, http.StatusOK, status)
	require.Positive(t, receipt["epoch"])
	require.NotContains(t, receipt, "information")
	status, receipt = r.call(http.MethodDelete, "/tenants/acme/tokens/abc", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "already_revoked", receipt["information"])
	for _, path := range []string{"/tenants/acme/tokens/unknown", "/tenants/other/tokens/abc"} {
		status, refused := r.call(http.MethodDelete, path, nil)
		require.Equal(t, http.StatusNotFound, status)
		require.Equal(t, "token_unknown", refused["reason"])
	}

	status, s := r.call(http.MethodGet, "/schema", nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, s["text"], "definition agent")
	status, s = r.call(http.MethodPost, "/schema", doc{})
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, false, s["changed"])

	status, rows := r.call(http.MethodGet, "/audit?tenant=acme&kind=admin&limit=2", nil)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, rows["items"], 2)
	require.NotEmpty(t, rows["next"])
	first := rows["items"].([]any)[0].(map[string]any)
	require.Equal(t, "tenant.create", first["operation"])
	require.NotEmpty(t, first["notes"].(map[string]any)["administrator"])
	status, _ = r.call(http.MethodGet, "/audit?after=zz", nil)
	require.Equal(t, http.StatusBadRequest, status)
}

func TestTheDocumentListsEveryRouteAndNoOther(t *testing.T) {
	r := newRig(t)
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	require.NoError(t, yaml.Unmarshal(admin.OpenAPI, &doc))
	listed := map[string]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				listed[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	router := chi.NewRouter()
	router.Route("/admin/v1", r.service.Routes)
	require.NoError(t, chi.Walk(router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		require.True(t, listed[method+" "+route], "%s %s is not in openapi.yaml", method, route)
		delete(listed, method+" "+route)
		return nil
	}))
	require.Empty(t, listed, "described and not served")
}
