package ledgertest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

func settings(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	record := auditlog.Record{Kind: auditlog.Admin, Phase: auditlog.Single, Tenant: "acme", Operation: "tenant.put", Decision: auditlog.Allow}
	want := ledger.Tenant{Ref: Ref(t, "tenant:acme"), Display: "Acme"}
	got, changed, err := l.PutTenant(ctx, want, record)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, int64(1), got.Version)
	require.Equal(t, clock.Now(), got.Created)

	clock.Add(time.Hour)
	got, changed, err = l.PutTenant(ctx, want, record)
	require.NoError(t, err)
	require.False(t, changed, "the same again changes nothing")
	require.Equal(t, int64(1), got.Version)

	want.Display = "Acme Ltd"
	got, changed, err = l.PutTenant(ctx, want, record)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, int64(2), got.Version)
	require.Equal(t, clock.Now(), got.Updated)
	require.Equal(t, clock.Now().Add(-time.Hour), got.Created)

	want.Version = 1
	_, _, err = l.PutTenant(ctx, want, record)
	refuses(t, err, agentid.KindConflict, "version_conflict")
	_, _, err = l.PutTenant(ctx, ledger.Tenant{})
	refuses(t, err, agentid.KindInvalid, "invalid_request")
	_, _, err = l.PutTenant(ctx, ledger.Tenant{Ref: Ref(t, "principal:acme/x")})
	refuses(t, err, agentid.KindInvalid, "invalid_request")

	page, err := l.Audit().Query(ctx, auditlog.Query{Tenant: "acme"})
	require.NoError(t, err)
	require.Len(t, page.Records, 2, "one record for each change")
	_, _, err = l.PutTenant(ctx, ledger.Tenant{Ref: Ref(t, "tenant:beta")}, auditlog.Record{})
	require.Error(t, err, "a record that is none takes the change back")
	all, err := l.Tenants(ctx, ledger.Page{})
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func settingsStayInTheirTenant(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	Populate(t, l, "acm") // a prefix of the other
	got, err := l.Principals(ctx, "acm", ledger.Page{})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "acm", got[0].Ref.Tenant())
	for _, tenant := range []string{"", "nobody", "acm%", "acm' OR '1'='1"} {
		got, err := l.Principals(ctx, tenant, ledger.Page{})
		require.NoError(t, err)
		require.Empty(t, got, tenant)
		_, err = l.PrincipalBySubject(ctx, tenant, "https://idp", "1")
		refuses(t, err, agentid.KindNotFound, "principal_unknown")
	}
	p, err := l.PrincipalBySubject(ctx, "acm", "https://idp", "1")
	require.NoError(t, err)
	require.Equal(t, Ref(t, "principal:acm/alice"), p.Ref)

	_, _, err = l.PutPrincipal(ctx, ledger.Principal{Ref: Ref(t, "principal:acme/bob"), Kind: ledger.PrincipalHuman, Issuer: "https://idp", Subject: "1"})
	refuses(t, err, agentid.KindConflict, "principal_exists")
	_, _, err = l.PutPrincipal(ctx, ledger.Principal{Ref: Ref(t, "principal:acme/bob")})
	refuses(t, err, agentid.KindInvalid, "invalid_request") // kind is not set
	_, _, err = l.PutPrincipal(ctx, ledger.Principal{Ref: Ref(t, "principal:nobody/bob"), Kind: ledger.PrincipalHuman})
	refuses(t, err, agentid.KindNotFound, "tenant_unknown")
	_, err = l.Principals(ctx, "acme", ledger.Page{Limit: -1})
	refuses(t, err, agentid.KindInvalid, "invalid_request")

	for _, name := range []string{"b", "a", "c"} {
		_, _, err := l.PutPrincipal(ctx, ledger.Principal{Ref: Ref(t, "principal:acme/"+name), Kind: ledger.PrincipalService})
		require.NoError(t, err)
	}
	got, err = l.Principals(ctx, "acme", ledger.Page{After: "a", Limit: 2})
	require.NoError(t, err)
	require.Equal(t, "alice", got[0].Ref.Name())
	require.Equal(t, "b", got[1].Ref.Name())
}

func whatIsInUseStays(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	connector := Ref(t, "connector:acme/stripe")
	tpl := ledger.Template{Tenant: "acme", Name: "refund-customer", Connector: "stripe", Spec: json.RawMessage(`{"name": "refund-customer"}`)}
	got, changed, err := l.PutTemplate(ctx, tpl)
	require.NoError(t, err)
	require.True(t, changed)
	require.JSONEq(t, string(tpl.Spec), string(got.Spec))
	_, changed, err = l.PutTemplate(ctx, tpl)
	require.NoError(t, err)
	require.False(t, changed)

	tpl.Connector = "nothing"
	_, _, err = l.PutTemplate(ctx, tpl)
	refuses(t, err, agentid.KindNotFound, "connector_unknown")
	tpl.Connector, tpl.Spec = "stripe", json.RawMessage(`{`)
	_, _, err = l.PutTemplate(ctx, tpl)
	refuses(t, err, agentid.KindInvalid, "invalid_request")

	refuses(t, l.DeleteConnector(ctx, connector), agentid.KindConflict, "in_use")
	refuses(t, l.DeletePrincipal(ctx, Ref(t, "principal:acme/alice")), agentid.KindConflict, "in_use")
	refuses(t, l.DeleteTenant(ctx, Ref(t, "tenant:acme")), agentid.KindConflict, "in_use")
	require.NoError(t, l.DeleteTemplate(ctx, "acme", "refund-customer"))
	refuses(t, l.DeleteTemplate(ctx, "acme", "refund-customer"), agentid.KindNotFound, "template_unknown")
	require.NoError(t, l.DeleteConnector(ctx, connector))
	all, err := l.Connectors(ctx)
	require.NoError(t, err)
	require.Empty(t, all)

	for _, bad := range []ledger.Connector{
		{Ref: connector, Kind: "payments", Resource: "https://GW", Upstream: "https://api"},
		{Ref: connector, Kind: "payments", Resource: "https://gw/", Upstream: "https://api"},
		{Ref: connector, Kind: "payments", Resource: "https://gw"},
		{Ref: connector, Kind: "payments", Resource: "https://gw", Upstream: "https://user@api"},
		{Ref: connector, Kind: "payments", Resource: "https://gw", Upstream: "file:///etc/passwd"},
		{Ref: connector, Resource: "https://gw", Upstream: "https://api"},
	} {
		_, _, err := l.PutConnector(ctx, bad)
		refuses(t, err, agentid.KindInvalid, "invalid_request")
	}
}

func agents(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	a := Agent(t, "acme", "ag-2")
	a.Ceiling, a.Expires = json.RawMessage(`[ {"x": 1} ]`), clock.Now().Add(time.Hour)
	got, changed, err := l.PutAgent(ctx, a)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, ledger.AgentActive, got.State)
	require.Len(t, got.Thumbprint, 43)
	require.Equal(t, `[{"x":1}]`, string(got.Ceiling))
	require.True(t, a.Expires.Equal(got.Expires))

	_, changed, err = l.PutAgent(ctx, a)
	require.NoError(t, err)
	require.False(t, changed)
	for field, edit := range map[string]func(*ledger.Agent){
		"ceiling":    func(a *ledger.Agent) { a.Ceiling = json.RawMessage(`[]`) },
		"expires":    func(a *ledger.Agent) { a.Expires = a.Expires.Add(time.Hour) },
		"public_key": func(a *ledger.Agent) { a.PublicKey = PublicKey(t) },
		"parent":     func(a *ledger.Agent) { a.Parent = Ref(t, "agent:acme/ag-1") },
	} {
		other := a
		edit(&other)
		_, _, err := l.PutAgent(ctx, other)
		refuses(t, err, agentid.KindConflict, "agent_immutable")
		require.Equal(t, field, agentid.AsError(err).Field)
	}
	for field, edit := range map[string]func(*ledger.Agent){
		"type":       func(a *ledger.Agent) { a.Type = Ref(t, "agent_type:beta/x") },
		"principal":  func(a *ledger.Agent) { a.Principal = agentid.Ref{} },
		"parent":     func(a *ledger.Agent) { a.Parent = a.Ref },
		"public_key": func(a *ledger.Agent) { a.PublicKey = json.RawMessage(`{"kty":"oct","k":"c2VjcmV0"}`) },
	} {
		other := a
		other.Ref = Ref(t, "agent:acme/ag-3")
		edit(&other)
		_, _, err := l.PutAgent(ctx, other)
		refuses(t, err, agentid.KindInvalid, "invalid_request")
		require.Equal(t, field, agentid.AsError(err).Field)
	}
	require.NoError(t, l.RetireAgent(ctx, a.Ref))
	require.NoError(t, l.RetireAgent(ctx, a.Ref))
	_, _, err = l.PutAgent(ctx, a)
	refuses(t, err, agentid.KindConflict, "agent_retired")
	refuses(t, l.RetireAgent(ctx, Ref(t, "agent:acme/nobody")), agentid.KindNotFound, "agent_unknown")

	live, err := l.Agents(ctx, ledger.AgentFilter{Tenant: "acme", State: ledger.AgentActive})
	require.NoError(t, err)
	require.Len(t, live, 1)
	_, err = l.Agents(ctx, ledger.AgentFilter{})
	refuses(t, err, agentid.KindInvalid, "invalid_request")
}

func keysBelongToOneAgent(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	Populate(t, l, "beta")
	a := Agent(t, "acme", "ag-2")
	_, _, err := l.PutAgent(ctx, a)
	require.NoError(t, err)
	b := Agent(t, "beta", "ag-2")
	b.PublicKey = a.PublicKey
	_, _, err = l.PutAgent(ctx, b)
	refuses(t, err, agentid.KindConflict, "key_in_use")
	require.NoError(t, l.RetireAgent(ctx, a.Ref))
	_, _, err = l.PutAgent(ctx, b)
	refuses(t, err, agentid.KindConflict, "key_in_use") // also after the owner's end
}

func lineages(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	parent := Ref(t, "agent:acme/ag-1")
	for _, name := range []string{"c1", "c2", "c3"} {
		a := Agent(t, "acme", name)
		a.Parent = parent
		_, _, err := l.PutAgent(ctx, a)
		require.NoError(t, err)
		parent = a.Ref
	}
	line, err := l.Lineage(ctx, parent)
	require.NoError(t, err)
	require.Len(t, line, 4)
	require.Equal(t, "c3", line[0].Ref.Name())
	require.Equal(t, "ag-1", line[3].Ref.Name())

	orphan := Agent(t, "acme", "orphan")
	orphan.Parent = Ref(t, "agent:acme/nobody")
	_, _, err = l.PutAgent(ctx, orphan)
	refuses(t, err, agentid.KindNotFound, "agent_unknown")
	require.NoError(t, l.RetireAgent(ctx, parent))
	orphan.Parent = parent
	_, _, err = l.PutAgent(ctx, orphan)
	refuses(t, err, agentid.KindForbidden, "parent_retired")
	_, _, err = l.PutPrincipal(ctx, ledger.Principal{Ref: Ref(t, "principal:acme/bob"), Kind: ledger.PrincipalHuman})
	require.NoError(t, err)
	orphan.Parent, orphan.Principal = Ref(t, "agent:acme/ag-1"), Ref(t, "principal:acme/bob")
	_, _, err = l.PutAgent(ctx, orphan)
	refuses(t, err, agentid.KindForbidden, "principal_differs")

	children, err := l.Agents(ctx, ledger.AgentFilter{Tenant: "acme", Parent: Ref(t, "agent:acme/c1")})
	require.NoError(t, err)
	require.Len(t, children, 1)
}

func freezes(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	agent := Ref(t, "agent:acme/ag-1")
	left, err := l.AddFreeze(ctx, agent, "operator", "root")
	require.NoError(t, err)
	require.Len(t, left, 1)
	left, err = l.AddFreeze(ctx, agent, "owner_lost", "system")
	require.NoError(t, err)
	require.Len(t, left, 2)
	left, err = l.AddFreeze(ctx, agent, "operator", "another")
	require.NoError(t, err)
	require.Len(t, left, 2)
	require.Equal(t, "root", left[0].Actor, "the first one stays")
	left, err = l.RemoveFreeze(ctx, agent, "operator")
	require.NoError(t, err)
	require.Len(t, left, 1, "a reason is left: it stays frozen")
	_, err = l.RemoveFreeze(ctx, agent, "operator")
	refuses(t, err, agentid.KindNotFound, "freeze_unknown")
	left, err = l.RemoveFreeze(ctx, agent, "owner_lost")
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = l.AddFreeze(ctx, agentid.Ref{}, "operator", "root")
	refuses(t, err, agentid.KindInvalid, "invalid_request")
}
