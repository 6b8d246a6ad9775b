package relate_test

import (
	"math"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

func must(ref agentid.Ref, err error) agentid.Ref {
	if err != nil {
		panic(err)
	}
	return ref
}

var (
	account = must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe"))
	typ     = must(agentid.AgentTypeRef("acme", "refund-agent"))
	agent   = must(agentid.AgentRef("acme", "ag-1"))
	tenant  = must(agentid.TenantRef("acme"))
	foreign = must(agentid.PrincipalRef("globex", "bob"))
)

func TestEdges(t *testing.T) {
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, edge := range map[string]relate.Edge{
		"agent:acme/ag-1#tenant@tenant:acme": {Resource: agent, Relation: schema.AgentTenant, Subject: relate.To(tenant)},
		"agent:acme/ag-1#enabled@agent:*[expiration:2030-01-02T03:04:05Z]": {
			Resource: agent, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: expiry,
		},
		"payments_account:acme/stripe#refunder@agent_type:acme/refund-agent#instance": {
			Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.Set(typ, schema.AgentTypeInstance),
		},
		`payments_account:acme/stripe#refunder@agent_type:acme/refund-agent#instance[payments_limit:{"currencies":["usd","eur"],"max_amount":5000}]`: {
			Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.Set(typ, schema.AgentTypeInstance),
			Caveat: relate.Caveat{Name: schema.CaveatPaymentsLimit, Context: map[string]any{
				schema.PaymentsLimitMaxAmount: int64(5000), schema.PaymentsLimitCurrencies: []string{"usd", "eur"},
			}},
		},
	} {
		rel, err := relate.New(edge)
		require.NoError(t, err)
		require.Equal(t, want, strings.ReplaceAll(tuple.MustV1RelString(rel), " ", "")) // protojson spaces as it likes
	}
}

func TestEdgesAreRefused(t *testing.T) {
	good := relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.Set(typ, schema.AgentTypeInstance)}
	_, err := relate.New(good)
	require.NoError(t, err)
	caveat := func(value any) relate.Caveat {
		return relate.Caveat{Name: "limit", Context: map[string]any{"max": value}}
	}
	cases := map[string]struct {
		field  string
		change func(*relate.Edge)
	}{
		"no resource":                  {"resource", func(e *relate.Edge) { e.Resource = agentid.Ref{} }},
		"no relation":                  {"relation", func(e *relate.Edge) { e.Relation = "" }},
		"no subject":                   {"subject", func(e *relate.Edge) { e.Subject = relate.Subject{} }},
		"zero subject":                 {"subject", func(e *relate.Edge) { e.Subject = relate.To(agentid.Ref{}) }},
		"subject of another tenant":    {"subject", func(e *relate.Edge) { e.Subject = relate.To(foreign) }},
		"context without a caveat":     {"caveat", func(e *relate.Edge) { e.Caveat.Context = map[string]any{"max": int64(1)} }},
		"number beyond 2^53":           {"caveat.max", func(e *relate.Edge) { e.Caveat = caveat(int64(1)<<53 + 1) }},
		"NaN":                          {"caveat.max", func(e *relate.Edge) { e.Caveat = caveat(math.NaN()) }},
		"a fraction":                   {"caveat.max", func(e *relate.Edge) { e.Caveat = caveat(1.5) }},
		"a value of another kind":      {"caveat.max", func(e *relate.Edge) { e.Caveat = caveat(map[string]any{}) }},
		"a list of anything":           {"caveat.max", func(e *relate.Edge) { e.Caveat = caveat([]any{"usd"}) }},
		"an int, which has many sizes": {"caveat.max", func(e *relate.Edge) { e.Caveat = caveat(5) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			edge := good
			c.change(&edge)
			for _, write := range []func(relate.Edge) (*v1.RelationshipUpdate, error){relate.Touch, relate.Create, relate.Delete} {
				_, err := write(edge)
				require.Error(t, err)
				require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
				require.Equal(t, c.field, agentid.AsError(err).Field)
			}
		})
	}
}

func TestOperations(t *testing.T) {
	edge := relate.Edge{Resource: agent, Relation: schema.AgentTenant, Subject: relate.To(tenant)}
	for want, write := range map[v1.RelationshipUpdate_Operation]func(relate.Edge) (*v1.RelationshipUpdate, error){
		v1.RelationshipUpdate_OPERATION_TOUCH:  relate.Touch,
		v1.RelationshipUpdate_OPERATION_CREATE: relate.Create,
		v1.RelationshipUpdate_OPERATION_DELETE: relate.Delete,
	} {
		u, err := write(edge)
		require.NoError(t, err)
		require.Equal(t, want, u.GetOperation())
	}
}
