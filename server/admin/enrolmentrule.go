package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/ledger"
)

// EnrolmentRule admits workloads that nobody registered: from this issuer, for this
// audience, with these claims, as agents of this type.
type EnrolmentRule struct {
	Header
	Issuer   string `json:"issuer"`   // name of a workload issuer
	Audience string `json:"audience"` // the one audience of its tokens: best the tenant's issuer URL
	// Claims are by flat name ("kubernetes.io.namespace") what each must be: a text, or
	// {"is": …}, {"in": […]}, {"like": "repo:acme/*:ref:refs/heads/main"}.
	Claims    map[string]federation.Match `json:"claims"`
	AgentType string                      `json:"agent_type"`
	Principal string                      `json:"principal,omitempty"` // empty: whoever delegates to its agents
	Seconds   int64                       `json:"lifetime_seconds,omitempty"`
	MaxLive   int                         `json:"max_live"` // its agents at a time
	// Details are the authorization_details of a request that names none.
	Details json.RawMessage `json:"authorization_details,omitempty"`
}

func (o *EnrolmentRule) name() (agentid.Ref, error) {
	return named(agentid.ResourceRef(KindEnrolmentRule, o.Tenant, o.Name))
}

func (o *EnrolmentRule) row() (ledger.EnrolmentRule, error) {
	r := ledger.EnrolmentRule{Audience: o.Audience, Lifetime: time.Duration(o.Seconds) * time.Second, MaxLive: o.MaxLive, Details: o.Details}
	var err error
	if r.Ref, err = o.name(); err != nil {
		return r, err
	}
	if r.Issuer, err = agentid.ResourceRef(KindWorkloadIssuer, o.Tenant, o.Issuer); err != nil {
		return r, agentid.AsError(err).WithField("issuer")
	}
	if r.Type, err = agentid.AgentTypeRef(o.Tenant, o.AgentType); err != nil {
		return r, agentid.AsError(err).WithField("agent_type")
	}
	if o.Principal != "" {
		if r.Principal, err = agentid.PrincipalRef(o.Tenant, o.Principal); err != nil {
			return r, err //nolint:wrapcheck // names the field
		}
	}
	if r.Claims, err = json.Marshal(o.Claims); err != nil {
		return r, agentid.Invalidf("claims", "cannot be written")
	}
	return r, nil
}

func (o *EnrolmentRule) check(ctx context.Context, w *world) error {
	row, err := o.row()
	if err != nil {
		return err
	}
	if err := w.tenant(ctx, o.Tenant); err != nil {
		return err
	}
	found, err := w.need(ctx, "issuer", &WorkloadIssuer{Header: Header{Kind: KindWorkloadIssuer, Tenant: o.Tenant, Name: o.Issuer}})
	if err != nil {
		return err
	}
	issuer, ok := found.(*WorkloadIssuer)
	if !ok {
		return agentid.Invalidf("issuer", "is not a workload issuer")
	}
	setting, err := issuer.row()
	if err != nil {
		return err
	}
	if err := enrol.CheckRule(row, enrol.SettingOf(setting)); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if _, err := w.need(ctx, "agent_type", &AgentType{Header: Header{Kind: KindAgentType, Tenant: o.Tenant, Name: o.AgentType}}); err != nil {
		return err
	}
	if o.Principal != "" {
		if _, err := w.need(ctx, "principal", &Principal{Header: Header{Kind: KindPrincipal, Tenant: o.Tenant, Name: o.Principal}}); err != nil {
			return err
		}
	}
	switch {
	case o.MaxLive < 1 || o.MaxLive > ledger.CapLive:
		return agentid.Invalidf("max_live", "want 1 to %d", ledger.CapLive)
	case o.Seconds < 0 || row.Lifetime > ledger.CapLifetime:
		return agentid.Invalidf("lifetime_seconds", "want 0 to %d", int64(ledger.CapLifetime/time.Second))
	}
	return o.checkDetails(ctx, w)
}

// checkDetails holds what the rule asks for by itself against the tenant.
func (o *EnrolmentRule) checkDetails(ctx context.Context, w *world) error {
	if len(o.Details) == 0 {
		return nil
	}
	request, err := capability.ParseRequest(o.Details)
	if err != nil {
		return agentid.AsError(err).WithField("authorization_details")
	}
	for i, call := range request.Templates {
		field := fmt.Sprintf("authorization_details[%d].template", i)
		if _, err := w.need(ctx, field, &Template{Header: Header{Kind: KindTemplate, Tenant: o.Tenant, Name: call.Template}}); err != nil {
			return err
		}
	}
	for _, c := range request.Capabilities {
		if c.Resource.Tenant() != o.Tenant {
			return agentid.Invalidf("authorization_details", "names a resource of another tenant")
		}
	}
	return nil
}

func (o *EnrolmentRule) current(ctx context.Context, s *Service) (object, error) {
	have, err := s.cfg.Ledger.EnrolmentRule(ctx, o.Tenant, o.Name)
	if err != nil {
		return nil, absent(err)
	}
	out, err := enrolmentRuleOf(have)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func enrolmentRuleOf(r ledger.EnrolmentRule) (*EnrolmentRule, error) {
	out := &EnrolmentRule{
		Header: Header{Kind: KindEnrolmentRule, Tenant: r.Ref.Tenant(), Name: r.Ref.Name()},
		Issuer: r.Issuer.Name(), Audience: r.Audience, AgentType: r.Type.Name(), Principal: r.Principal.Name(),
		Seconds: int64(r.Lifetime / time.Second), MaxLive: r.MaxLive, Details: r.Details,
	}
	if err := json.Unmarshal(r.Claims, &out.Claims); err != nil {
		return nil, fmt.Errorf("enrolment rule %s: %w", r.Ref, err)
	}
	return out, nil
}

func (s *Service) rules(ctx context.Context, tenant string, p ledger.Page) ([]object, error) {
	found, err := s.cfg.Ledger.EnrolmentRules(ctx, tenant, p)
	if err != nil {
		return nil, err //nolint:wrapcheck // an agentid.Error
	}
	out := make([]object, 0, len(found))
	for _, v := range found {
		r, err := enrolmentRuleOf(v)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// edges: a rule is in the ledger only.
func (*EnrolmentRule) edges(context.Context, *Service) (edges, error) { return edges{}, nil }

func (o *EnrolmentRule) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	row, err := o.row()
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutEnrolmentRule(ctx, row, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
