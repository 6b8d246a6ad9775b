package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// TypeEnrolmentRule is the type of an enrolment rule's ref.
const TypeEnrolmentRule = "enrolment_rule"

// EnrolmentRule admits workloads that nobody named: from this issuer, for this audience,
// with these claims, as agents of this type.
type EnrolmentRule struct {
	Ref      agentid.Ref     `json:"ref"`
	Issuer   agentid.Ref     `json:"issuer"` // a workload issuer
	Audience string          `json:"audience"`
	Claims   json.RawMessage `json:"claims"` // by flat name, what each must be; the reader is package enrol
	Type     agentid.Ref     `json:"type"`
	// Principal is whom its agents act for. Zero: whoever delegates to them, and nobody else.
	Principal agentid.Ref   `json:"principal,omitzero"`
	Lifetime  time.Duration `json:"lifetime,omitempty"` // of an agent; zero: as the limits allow
	MaxLive   int           `json:"max_live"`           // its agents at a time; at least 1
	// Details are the authorization_details of a request that names none.
	Details json.RawMessage `json:"details,omitempty"`
	Meta    `json:"-"`
}

var enrolmentRules = kind[EnrolmentRule]{
	name:  TypeEnrolmentRule,
	table: objectTable("enrolment_rules"),
	id:    func(r *EnrolmentRule) (string, string) { return r.Ref.Tenant(), r.Ref.Name() },
	alias: func(*EnrolmentRule) string { return "" },
	meta:  func(r *EnrolmentRule) *Meta { return &r.Meta },
	refers: func(r *EnrolmentRule) []reference {
		out := []reference{
			tenantReference(r.Ref.Tenant()),
			{kind: TypeWorkloadIssuer, query: workloadIssuers.table.exists, tenant: r.Issuer.Tenant(), name: r.Issuer.Name()},
			{kind: "agent_type", query: agentTypes.table.exists, tenant: r.Type.Tenant(), name: r.Type.Name()},
		}
		if !r.Principal.IsZero() {
			out = append(out, reference{kind: "principal", query: principals.table.exists, tenant: r.Principal.Tenant(), name: r.Principal.Name()})
		}
		return out
	},
	check: checkRule,
}

func checkRule(r *EnrolmentRule) error {
	for _, c := range []struct {
		field, typ string
		ref        agentid.Ref
	}{{TypeEnrolmentRule, TypeEnrolmentRule, r.Ref}, {"issuer", TypeWorkloadIssuer, r.Issuer}, {"agent_type", agentid.TypeAgentType, r.Type}, {"principal", agentid.TypePrincipal, r.Principal}} {
		if c.field == "principal" && c.ref.IsZero() {
			continue
		}
		if err := checkRef(c.field, c.ref, c.typ); err != nil {
			return err
		}
		if c.ref.Tenant() != r.Ref.Tenant() {
			return agentid.Invalidf(c.field, "belongs to another tenant")
		}
	}
	switch {
	case r.Audience == "":
		return agentid.Invalidf("audience", "is required")
	case len(r.Claims) == 0:
		return agentid.Invalidf("claims", "are required")
	case r.MaxLive < 1 || r.MaxLive > CapLive:
		return agentid.Invalidf("max_live", "want 1 to %d", CapLive)
	case r.Lifetime < 0 || r.Lifetime > CapLifetime:
		return agentid.Invalidf("lifetime", "want 0 to %s", CapLifetime)
	}
	if err := compactJSON("claims", &r.Claims); err != nil {
		return err
	}
	return compactJSON("details", &r.Details)
}

// PutEnrolmentRule creates or replaces a rule; see PutTenant.
func (l *Ledger) PutEnrolmentRule(ctx context.Context, r EnrolmentRule, records ...auditlog.Record) (EnrolmentRule, bool, error) {
	return enrolmentRules.put(ctx, l, r, records)
}

// EnrolmentRule reads one: KindNotFound enrolment_rule_unknown.
func (l *Ledger) EnrolmentRule(ctx context.Context, tenant, name string) (EnrolmentRule, error) {
	return enrolmentRules.get(ctx, l.reader(), tenant, name)
}

// EnrolmentRules lists a tenant's rules in order of their names.
func (l *Ledger) EnrolmentRules(ctx context.Context, tenant string, p Page) ([]EnrolmentRule, error) {
	return enrolmentRules.list(ctx, l.reader(), tenant, p)
}

// MaxRulesOfIssuer is how many rules of one issuer are looked at.
const MaxRulesOfIssuer = MaxPage

// RulesOf lists the rules of one issuer in order of their names.
func (l *Ledger) RulesOf(ctx context.Context, issuer agentid.Ref) ([]EnrolmentRule, error) {
	return enrolmentRules.read(ctx, l.reader(), `SELECT `+objectColumns+` FROM enrolment_rules
		WHERE tenant = ? AND json_extract(CAST(spec AS TEXT), '$.issuer') = ? ORDER BY name LIMIT ?`, issuer.Tenant(), issuer.String(), MaxRulesOfIssuer)
}

// DeleteEnrolmentRule deletes a rule. Agents that it admitted live on.
func (l *Ledger) DeleteEnrolmentRule(ctx context.Context, tenant, name string, records ...auditlog.Record) error {
	return enrolmentRules.remove(ctx, l, tenant, name, "", records)
}

// Enrolment is by what right an agent is spawned that nobody registered.
type Enrolment struct {
	Rule            agentid.Ref // at the version that admitted it
	Version         int64
	Issuer, Subject string // who it is there
	MaxLive         int
}

// heldByRule counts a rule's agents that have not ended, up to ?3.
const heldByRule = `SELECT count(*) FROM (
	SELECT 1 FROM enrolments e JOIN agents a ON a.tenant = e.tenant AND a.name = e.name
	WHERE e.rule = ?1 AND e.expires > ?2 AND a.state <> 2 LIMIT ?3)`

// enrol takes one of the rule's slots for a row that the same transaction writes. Writes
// are one at a time: what was counted holds until the row is in.
func (l *Ledger) enrol(ctx context.Context, tx *sqlitedb.Tx, a Agent, e Enrolment) error {
	same, err := exists(ctx, tx.Query, `SELECT 1 FROM enrolment_rules WHERE tenant = ? AND name = ? AND version = ?`, e.Rule.Tenant(), e.Rule.Name(), e.Version)
	if err != nil {
		return err
	}
	if !same {
		return agentid.Errorf(agentid.KindForbidden, "rule_changed", "the rule is another by now")
	}
	n, err := held(ctx, tx, heldByRule, e.Rule, l.now(), e.MaxLive)
	if err != nil {
		return err
	}
	if n >= e.MaxLive {
		return agentid.Errorf(agentid.KindForbidden, "rule_exhausted", "%d agents live by this rule, which is all that may", n)
	}
	_, err = tx.Exec(ctx, `INSERT OR REPLACE INTO enrolments (tenant, name, rule, issuer, subject, expires) VALUES (?,?,?,?,?,?)`,
		a.Ref.Tenant(), a.Ref.Name(), e.Rule.String(), e.Issuer, e.Subject, micros(a.Expires))
	return err
}
