package ledger

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// Tenant is an organisation.
type Tenant struct {
	Ref     agentid.Ref `json:"ref"`
	Display string      `json:"display,omitempty"` // for people
	Limits              // of all its agents together, or of each, as the limit says
	Meta    `json:"-"`
}

var tenants = kind[Tenant]{
	name:  "tenant",
	table: objectTable("tenants"),
	id:    func(t *Tenant) (string, string) { return t.Ref.Tenant(), "" },
	alias: func(*Tenant) string { return "" },
	meta:  func(t *Tenant) *Meta { return &t.Meta },
	check: func(t *Tenant) error {
		if err := checkRef("tenant", t.Ref, agentid.TypeTenant); err != nil {
			return err
		}
		if err := t.check(); err != nil {
			return err
		}
		return checkDisplay(t.Display)
	},
	refers: func(*Tenant) []reference { return nil },
	usedBy: []string{
		`SELECT 1 FROM principals WHERE tenant = ?1 AND ?2 = '' LIMIT 1`,
		`SELECT 1 FROM agent_types WHERE tenant = ?1 AND ?2 = '' LIMIT 1`,
		`SELECT 1 FROM templates WHERE tenant = ?1 AND ?2 = '' LIMIT 1`,
		`SELECT 1 FROM connectors WHERE tenant = ?1 AND ?2 = '' LIMIT 1`,
		`SELECT 1 FROM workload_issuers WHERE tenant = ?1 AND ?2 = '' LIMIT 1`,
		`SELECT 1 FROM agents WHERE tenant = ?1 AND ?2 = '' LIMIT 1`,
	},
}

// PutTenant creates or replaces a tenant and reports whether anything changed. The
// records are written in the same transaction, and only with a change.
func (l *Ledger) PutTenant(ctx context.Context, t Tenant, records ...auditlog.Record) (Tenant, bool, error) {
	return tenants.put(ctx, l, t, records)
}

// Tenant reads one tenant by its id: KindNotFound tenant_unknown.
func (l *Ledger) Tenant(ctx context.Context, tenant string) (Tenant, error) {
	return tenants.get(ctx, l.reader(), tenant, "")
}

// Tenants lists the tenants in order of their ids. It is the one list across tenants.
func (l *Ledger) Tenants(ctx context.Context, p Page) ([]Tenant, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, err
	}
	return tenants.read(ctx, l.reader(), `SELECT `+objectColumns+` FROM tenants WHERE tenant > ? AND name = '' ORDER BY tenant LIMIT ?`, p.After, limit)
}

// DeleteTenant deletes a tenant that has nothing left: KindConflict in_use otherwise.
func (l *Ledger) DeleteTenant(ctx context.Context, tenant agentid.Ref, records ...auditlog.Record) error {
	if err := checkRef("tenant", tenant, agentid.TypeTenant); err != nil {
		return err
	}
	return tenants.remove(ctx, l, tenant.Tenant(), "", tenant.String(), records)
}

func tenantReference(tenant string) reference {
	return reference{kind: "tenant", query: tenants.table.exists, tenant: tenant}
}

const maxDisplay = 256

func checkRef(field string, r agentid.Ref, typ string) error {
	if r.Type() != typ {
		return agentid.Invalidf(field, "want a ref of type %s", typ)
	}
	return nil
}

func checkDisplay(s string) error {
	if len(s) > maxDisplay {
		return agentid.Invalidf("display", "is longer than %d bytes", maxDisplay)
	}
	return nil
}
