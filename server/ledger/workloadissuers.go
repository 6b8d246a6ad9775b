package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// TypeWorkloadIssuer is the type of a workload issuer's ref.
const TypeWorkloadIssuer = "workload_issuer"

// WorkloadIssuer is whose word about workloads a tenant takes, and where its keys are. How
// it is verified is the kind's; here it is kept.
type WorkloadIssuer struct {
	Ref    agentid.Ref `json:"ref"`
	Kind   string      `json:"kind"`   // "github"
	Issuer string      `json:"issuer"` // byte for byte; unique in the tenant
	// Where keys come from, one of them; none: the issuer's discovery document.
	KeysURL     string          `json:"jwks_uri,omitempty"`
	Keys        json.RawMessage `json:"jwks,omitempty"`         // a document that never changes
	BundleURL   string          `json:"bundle_url,omitempty"`   // SPIFFE bundle endpoint
	BundleFile  string          `json:"bundle_file,omitempty"`  // path at the broker
	WorkloadAPI string          `json:"workload_api,omitempty"` // address of the broker's own SPIFFE agent
	Endpoint    string          `json:"endpoint,omitempty"`     // where AWS STS is asked; none: the issuer

	AllowPrivate bool          `json:"allow_private,omitempty"`
	MaxStale     time.Duration `json:"max_stale,omitempty"` // zero: the default
	Meta         `json:"-"`
}

var workloadIssuers = kind[WorkloadIssuer]{
	name:   TypeWorkloadIssuer,
	table:  objectTable("workload_issuers"),
	id:     func(w *WorkloadIssuer) (string, string) { return w.Ref.Tenant(), w.Ref.Name() },
	alias:  func(w *WorkloadIssuer) string { return issuerAlias(w.Ref.Tenant(), w.Issuer) },
	meta:   func(w *WorkloadIssuer) *Meta { return &w.Meta },
	refers: func(w *WorkloadIssuer) []reference { return []reference{tenantReference(w.Ref.Tenant())} },
	usedBy: []string{`SELECT 1 FROM enrolment_rules WHERE tenant = ? AND json_extract(CAST(spec AS TEXT), '$.issuer') = '` + TypeWorkloadIssuer + `:' || tenant || '/' || ? LIMIT 1`},
	check: func(w *WorkloadIssuer) error {
		if err := checkRef(TypeWorkloadIssuer, w.Ref, TypeWorkloadIssuer); err != nil {
			return err
		}
		if w.Kind == "" || w.Issuer == "" || len(w.Issuer) > maxSubject {
			return agentid.Invalidf("issuer", "want a kind and an issuer of at most %d bytes", maxSubject)
		}
		return compactJSON("jwks", &w.Keys)
	},
}

// issuerAlias finds an issuer of a tenant by its own name.
func issuerAlias(tenant, issuer string) string {
	if tenant == "" || issuer == "" {
		return ""
	}
	return tenant + " " + issuer // no tenant holds a space
}

// PutWorkloadIssuer creates or replaces a workload issuer; see PutTenant. KindConflict
// workload_issuer_exists when another one of the tenant has the same issuer.
func (l *Ledger) PutWorkloadIssuer(ctx context.Context, w WorkloadIssuer, records ...auditlog.Record) (WorkloadIssuer, bool, error) {
	return workloadIssuers.put(ctx, l, w, records)
}

// WorkloadIssuer reads one: KindNotFound workload_issuer_unknown.
func (l *Ledger) WorkloadIssuer(ctx context.Context, tenant, name string) (WorkloadIssuer, error) {
	return workloadIssuers.get(ctx, l.reader(), tenant, name)
}

// WorkloadIssuerByName finds the one that calls itself issuer: KindNotFound
// workload_issuer_unknown.
func (l *Ledger) WorkloadIssuerByName(ctx context.Context, tenant, issuer string) (WorkloadIssuer, error) {
	alias := issuerAlias(tenant, issuer)
	if alias == "" {
		return WorkloadIssuer{}, workloadIssuers.unknown()
	}
	return workloadIssuers.first(ctx, l.reader(), workloadIssuers.table.byAlias, alias)
}

// WorkloadIssuers lists a tenant's in order of their names.
func (l *Ledger) WorkloadIssuers(ctx context.Context, tenant string, p Page) ([]WorkloadIssuer, error) {
	return workloadIssuers.list(ctx, l.reader(), tenant, p)
}

// DeleteWorkloadIssuer deletes one that no rule refers to.
func (l *Ledger) DeleteWorkloadIssuer(ctx context.Context, tenant, name string, records ...auditlog.Record) error {
	return workloadIssuers.remove(ctx, l, tenant, name, "", records)
}
