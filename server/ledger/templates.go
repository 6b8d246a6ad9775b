package ledger

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// Template is a capability template of a tenant, for one of its connectors.
type Template struct {
	Tenant    string          `json:"tenant"`
	Name      string          `json:"name"`
	Connector string          `json:"connector"` // name of the tenant's connector
	Spec      json.RawMessage `json:"spec"`      // a capability.Template
	Meta      `json:"-"`
}

// maxJSON bounds one JSON document that the ledger keeps without reading it.
const maxJSON = 256 << 10

var templates = kind[Template]{
	name:  "template",
	table: objectTable("templates"),
	id:    func(t *Template) (string, string) { return t.Tenant, t.Name },
	alias: func(*Template) string { return "" },
	meta:  func(t *Template) *Meta { return &t.Meta },
	refers: func(t *Template) []reference {
		return []reference{
			tenantReference(t.Tenant),
			{kind: "connector", query: connectors.table.exists, tenant: t.Tenant, name: t.Connector},
		}
	},
	check: func(t *Template) error {
		if _, err := agentid.ResourceRef("template", t.Tenant, t.Name); err != nil {
			return err
		}
		if _, err := agentid.ConnectorRef(t.Tenant, t.Connector); err != nil {
			return err
		}
		if len(t.Spec) == 0 {
			return agentid.Invalidf("spec", "must not be empty")
		}
		return compactJSON("spec", &t.Spec)
	},
}

// PutTemplate creates or replaces a template; see PutTenant.
func (l *Ledger) PutTemplate(ctx context.Context, t Template, records ...auditlog.Record) (Template, bool, error) {
	return templates.put(ctx, l, t, records)
}

// Template reads one template: KindNotFound template_unknown.
func (l *Ledger) Template(ctx context.Context, tenant, name string) (Template, error) {
	return templates.get(ctx, l.reader(), tenant, name)
}

// Templates lists a tenant's templates in order of their names.
func (l *Ledger) Templates(ctx context.Context, tenant string, p Page) ([]Template, error) {
	return templates.list(ctx, l.reader(), tenant, p)
}

// DeleteTemplate deletes a template.
func (l *Ledger) DeleteTemplate(ctx context.Context, tenant, name string, records ...auditlog.Record) error {
	return templates.remove(ctx, l, tenant, name, "", records)
}

// compactJSON checks that doc is JSON, or empty, and takes its white space away.
func compactJSON(field string, doc *json.RawMessage) error {
	if len(*doc) == 0 {
		*doc = nil
		return nil
	}
	var b bytes.Buffer
	if len(*doc) > maxJSON || json.Compact(&b, *doc) != nil {
		return agentid.Invalidf(field, "want JSON of at most %d bytes", maxJSON)
	}
	*doc = b.Bytes()
	return nil
}
