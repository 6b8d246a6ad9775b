package ledger

import (
	"context"
	"strconv"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// PrincipalKind says what a principal is. The zero PrincipalKind is refused.
type PrincipalKind string

// The kinds of principals.
const (
	PrincipalHuman   PrincipalKind = "human"
	PrincipalService PrincipalKind = "service"
)

// Principal is a human or service on whose behalf agents act.
type Principal struct {
	Ref  agentid.Ref   `json:"ref"`
	Kind PrincipalKind `json:"kind"`
	// Issuer and Subject are how an identity provider knows it: both or neither, and
	// unique in the tenant.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	Display string `json:"display,omitempty"`
	Meta    `json:"-"`
}

const maxSubject = 1024

var principals = kind[Principal]{
	name:   "principal",
	table:  objectTable("principals"),
	id:     func(p *Principal) (string, string) { return p.Ref.Tenant(), p.Ref.Name() },
	alias:  func(p *Principal) string { return subjectAlias(p.Ref.Tenant(), p.Issuer, p.Subject) },
	meta:   func(p *Principal) *Meta { return &p.Meta },
	refers: func(p *Principal) []reference { return []reference{tenantReference(p.Ref.Tenant())} },
	named: []string{
		`SELECT 1 FROM agents WHERE principal = ? LIMIT 1`,
		`SELECT 1 FROM enrolment_rules WHERE json_extract(CAST(spec AS TEXT), '$.principal') = ? LIMIT 1`,
	},
	check: func(p *Principal) error {
		if err := checkRef("principal", p.Ref, agentid.TypePrincipal); err != nil {
			return err
		}
		switch {
		case p.Kind != PrincipalHuman && p.Kind != PrincipalService:
			return agentid.Invalidf("kind", "want human or service")
		case (p.Issuer == "") != (p.Subject == ""):
			return agentid.Invalidf("subject", "issuer and subject come together")
		case len(p.Issuer) > maxSubject || len(p.Subject) > maxSubject:
			return agentid.Invalidf("subject", "is longer than %d bytes", maxSubject)
		}
		return checkDisplay(p.Display)
	},
}

// subjectAlias is injective: every part but the last has its length in front.
func subjectAlias(tenant, issuer, subject string) string {
	if issuer == "" || subject == "" {
		return ""
	}
	return strconv.Itoa(len(tenant)) + ":" + tenant + strconv.Itoa(len(issuer)) + ":" + issuer + subject
}

// PutPrincipal creates or replaces a principal; see PutTenant. KindConflict
// principal_exists when another one of the tenant has the same issuer and subject.
func (l *Ledger) PutPrincipal(ctx context.Context, p Principal, records ...auditlog.Record) (Principal, bool, error) {
	return principals.put(ctx, l, p, records)
}

// Principal reads one principal: KindNotFound principal_unknown.
func (l *Ledger) Principal(ctx context.Context, ref agentid.Ref) (Principal, error) {
	if err := checkRef("principal", ref, agentid.TypePrincipal); err != nil {
		return Principal{}, err
	}
	return principals.get(ctx, l.reader(), ref.Tenant(), ref.Name())
}

// PrincipalBySubject finds the principal that an identity provider knows as subject.
func (l *Ledger) PrincipalBySubject(ctx context.Context, tenant, issuer, subject string) (Principal, error) {
	alias := subjectAlias(tenant, issuer, subject)
	if alias == "" {
		return Principal{}, principals.unknown()
	}
	return principals.first(ctx, l.reader(), principals.table.byAlias, alias)
}

// Principals lists a tenant's principals in order of their names.
func (l *Ledger) Principals(ctx context.Context, tenant string, p Page) ([]Principal, error) {
	return principals.list(ctx, l.reader(), tenant, p)
}

// DeletePrincipal deletes a principal that no agent, live or retired, acted for.
func (l *Ledger) DeletePrincipal(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) error {
	if err := checkRef("principal", ref, agentid.TypePrincipal); err != nil {
		return err
	}
	return principals.remove(ctx, l, ref.Tenant(), ref.Name(), ref.String(), records)
}
