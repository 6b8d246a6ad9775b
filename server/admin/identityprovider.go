package admin

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

// IdentityProvider is an OpenID Connect provider of a tenant's people.
type IdentityProvider struct {
	Header
	Display         string       `json:"display,omitempty"`
	Issuer          string       `json:"issuer"` // exactly as its discovery document has it
	ClientID        string       `json:"client_id"`
	ClientSecret    string       `json:"client_secret,omitempty"` // write-only
	ClientSecretSet bool         `json:"client_secret_set,omitempty"`
	Audiences       []string     `json:"audiences,omitempty"` // of presented tokens, beside client_id
	Scopes          []string     `json:"scopes,omitempty"`    // asked for beside openid
	Claims          ClaimMapping `json:"claims,omitzero"`
	Groups          []GroupRule  `json:"groups,omitempty"`
	Flows           []string     `json:"flows"`              // login, device, exchange, id_jag
	Declared        bool         `json:"declared,omitempty"` // a first login makes no principal
	MaxStaleSeconds int64        `json:"max_stale_seconds,omitempty"`
	AllowPrivate    bool         `json:"allow_private,omitempty"` // loopback and private addresses
}

// ClaimMapping names claims; empty ones are sub, groups and name.
type ClaimMapping struct {
	Subject string `json:"subject,omitempty"`
	Groups  string `json:"groups,omitempty"`
	Name    string `json:"name,omitempty"`
}

// GroupRule gives everyone in a group one relation to one object of the tenant.
type GroupRule struct {
	Group    string `json:"group"`
	Resource string `json:"resource"` // "tenant:acme", "agent_type:acme/refund-agent", "payments_account:acme/stripe"
	Relation string `json:"relation"` // "member", "launcher", "refunder"
}

const (
	maxGroupRules = 500
	maxStaleLimit = 7 * 24 * time.Hour
)

// groupRelations are the relations of base types that a group may give.
var groupRelations = map[string][]string{
	schema.TypeTenant:    {schema.TenantMember, schema.TenantAuditor, schema.TenantAdmin},
	schema.TypeAgentType: {schema.AgentTypeLauncher},
}

func (p *IdentityProvider) name() (agentid.Ref, error) {
	return named(agentid.ResourceRef(KindIdentityProvider, p.Tenant, p.Name))
}

// check judges the declaration. A provider that is new, or that changed where it is, must
// answer: with its own issuer, over https or loopback, from an address that is allowed.
func (p *IdentityProvider) check(ctx context.Context, w *world) error {
	if _, err := p.name(); err != nil {
		return err
	}
	if p.ClientSecretSet {
		return errState
	}
	if err := w.tenant(ctx, p.Tenant); err != nil {
		return err
	}
	if err := p.checkFields(); err != nil {
		return err
	}
	for i := range p.Groups {
		if err := p.checkRule(ctx, w, i); err != nil {
			return err
		}
	}
	have, err := p.current(ctx, w.s)
	if err != nil {
		return err
	}
	if old, ok := have.(*IdentityProvider); ok && old.Issuer == p.Issuer && old.AllowPrivate == p.AllowPrivate && old.ClientID == p.ClientID {
		return nil
	}
	return p.probe(ctx)
}

func (p *IdentityProvider) checkFields() error {
	known := []string{string(ledger.FlowLogin), string(ledger.FlowDevice), string(ledger.FlowExchange), string(ledger.FlowIDJAG)}
	if len(p.Flows) == 0 {
		return agentid.Invalidf("flows", "want at least one of %s", strings.Join(known, ", "))
	}
	for i, f := range p.Flows {
		if !slices.Contains(known, f) || slices.Index(p.Flows, f) != i {
			return agentid.Invalidf(fmt.Sprintf("flows[%d]", i), "want each of %s at most once", strings.Join(known, ", "))
		}
	}
	for field, list := range map[string][]string{"audiences": p.Audiences, "scopes": p.Scopes} {
		for i, text := range list {
			if text == "" || len(text) > 512 || strings.ContainsFunc(text, func(c rune) bool { return c <= 0x20 || c > 0x7e }) {
				return agentid.Invalidf(fmt.Sprintf("%s[%d]", field, i), "want printable ASCII without spaces")
			}
		}
	}
	if p.MaxStaleSeconds < 0 || p.MaxStaleSeconds > int64(maxStaleLimit/time.Second) {
		return agentid.Invalidf("max_stale_seconds", "want 0 to %d", int64(maxStaleLimit/time.Second))
	}
	if len(p.Groups) > maxGroupRules {
		return agentid.Invalidf("groups", "more than %d", maxGroupRules)
	}
	return nil
}

// checkRule wants an object of the tenant, and a relation that a group may give there.
func (p *IdentityProvider) checkRule(ctx context.Context, w *world, i int) error {
	rule, field := p.Groups[i], fmt.Sprintf("groups[%d]", i)
	if rule.Group == "" || len(rule.Group) > 256 {
		return agentid.Invalidf(field+".group", "want 1 to 256 bytes")
	}
	ref, err := agentid.ParseRef(rule.Resource)
	if err != nil || ref.Tenant() != p.Tenant {
		return agentid.Invalidf(field+".resource", "want type:tenant/name of this tenant")
	}
	if taken, base := groupRelations[ref.Type()]; base {
		if !slices.Contains(taken, rule.Relation) {
			return agentid.Invalidf(field+".relation", "want one of %s", strings.Join(taken, ", "))
		}
		if ref.Type() == schema.TypeAgentType {
			_, err := w.need(ctx, field+".resource", &AgentType{Header: Header{Kind: KindAgentType, Tenant: p.Tenant, Name: ref.Name()}})
			return err
		}
		return nil
	}
	// A connector's relation has to take a principal without a caveat: what a grant checks.
	grant := &Grant{Header: Header{Kind: KindGrant, Tenant: p.Tenant}, Resource: rule.Resource, Relation: rule.Relation, Subject: "principal:" + p.Tenant + "/anyone"}
	if err := grant.knownAccount(ctx, w, ref); err != nil {
		return agentid.AsError(err).WithField(field + ".resource")
	}
	if err := grant.inSchema(ctx, w, ref); err != nil {
		if e := agentid.AsError(err); e.Kind == agentid.KindInvalid {
			return e.WithField(field + "." + e.Field)
		}
		return err
	}
	return nil
}

// probe asks the provider: what is wrong with it is the field issuer's fault.
func (p *IdentityProvider) probe(ctx context.Context) error {
	provider, err := oidc.New(ctx, oidc.Config{Issuer: p.Issuer, ClientID: p.ClientID, AllowPrivate: p.AllowPrivate})
	if err != nil {
		e := agentid.AsError(err)
		if e.Kind == agentid.KindUpstream {
			return agentid.Errorf(agentid.KindInvalid, e.Reason, "%s", e.Message).WithField("issuer").WithCause(err)
		}
		return err //nolint:wrapcheck // names the field
	}
	if !provider.CanLogin() && (slices.Contains(p.Flows, string(ledger.FlowLogin)) || slices.Contains(p.Flows, string(ledger.FlowDevice))) {
		return agentid.Invalidf("flows", "the provider has no authorization endpoint or no token endpoint")
	}
	return nil
}

func (p *IdentityProvider) current(ctx context.Context, s *Service) (object, error) {
	have, err := s.cfg.Ledger.IdentityProvider(ctx, p.Tenant, p.Name)
	if err != nil {
		return nil, absent(err)
	}
	return identityProviderOf(have), nil
}

func identityProviderOf(p ledger.IdentityProvider) *IdentityProvider {
	out := &IdentityProvider{
		Header:  Header{Kind: KindIdentityProvider, Tenant: p.Tenant, Name: p.Name},
		Display: p.Display, Issuer: p.Issuer, ClientID: p.ClientID, Audiences: p.Audiences, Scopes: p.Scopes, Claims: ClaimMapping(p.Claims),
		Declared: p.Declared, MaxStaleSeconds: int64(p.MaxStale / time.Second), AllowPrivate: p.AllowPrivate,
	}
	for _, f := range p.Flows {
		out.Flows = append(out.Flows, string(f))
	}
	for _, g := range p.Groups {
		out.Groups = append(out.Groups, GroupRule{Group: g.Group, Resource: g.Resource.String(), Relation: g.Relation})
	}
	return out
}

// edges: a provider is in the ledger only. What its groups give is made at logins.
func (p *IdentityProvider) edges(context.Context, *Service) (edges, error) { return edges{}, nil }

func (p *IdentityProvider) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	row := ledger.IdentityProvider{
		Tenant: p.Tenant, Name: p.Name, Display: p.Display, Issuer: p.Issuer, ClientID: p.ClientID, Audiences: p.Audiences, Scopes: p.Scopes,
		Claims: ledger.ClaimMapping(p.Claims), Declared: p.Declared, MaxStale: time.Duration(p.MaxStaleSeconds) * time.Second, AllowPrivate: p.AllowPrivate,
	}
	for _, f := range p.Flows {
		row.Flows = append(row.Flows, ledger.LoginFlow(f))
	}
	for _, g := range p.Groups {
		ref, err := agentid.ParseRef(g.Resource)
		if err != nil {
			return false, err //nolint:wrapcheck // names the field
		}
		row.Groups = append(row.Groups, ledger.GroupRule{Group: g.Group, Resource: ref, Relation: g.Relation})
	}
	_, changed, err := s.cfg.Ledger.PutIdentityProvider(ctx, row, records...)
	if err != nil || p.ClientSecret == "" {
		return changed, err //nolint:wrapcheck // an agentid.Error
	}
	if equal, err := s.holdsSecret(ctx, p); err != nil || equal {
		return changed, err
	}
	err = s.cfg.Ledger.PutProviderSecret(ctx, p.Tenant, p.Name, agentid.NewSecret(p.ClientSecret), s.record(ctx, "identity_provider.secret", row.Ref(), row.Ref().String()))
	return true, err //nolint:wrapcheck // an agentid.Error
}

// secretChange adds a declared client secret to a plan if it differs from the one in
// place. Neither is shown.
func (s *Service) secretChange(ctx context.Context, p *IdentityProvider, plan *Change) error {
	if p.ClientSecret == "" {
		return nil
	}
	equal, err := s.holdsSecret(ctx, p)
	if err == nil && !equal {
		plan.Fields = append(plan.Fields, Field{Name: "client_secret", To: redacted})
	}
	return err
}

func (s *Service) holdsSecret(ctx context.Context, p *IdentityProvider) (bool, error) {
	have, _, err := s.cfg.Ledger.ProviderSecret(ctx, p.Tenant, p.Name)
	if err != nil {
		return false, err //nolint:wrapcheck // an agentid.Error
	}
	return subtle.ConstantTimeCompare([]byte(have.Reveal()), []byte(p.ClientSecret)) == 1, nil
}

var errNoPeople = agentid.Errorf(agentid.KindConflict, "people_unavailable", "this broker takes no people in")

// forget takes away what a provider's groups gave.
func (s *Service) forget(ctx context.Context, id agentid.Ref) error {
	provider, err := s.cfg.Ledger.IdentityProvider(ctx, id.Tenant(), id.Name())
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if s.cfg.People == nil {
		return errNoPeople
	}
	return s.cfg.People.Forget(ctx, provider) //nolint:wrapcheck // an agentid.Error
}

// postSync brings what a principal's groups give into place: as its identity provider says
// now, or as the body does.
func (s *Service) postSync(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Groups *[]string `json:"groups"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	id, err := ref(r, KindPrincipal)
	if err != nil {
		return err
	}
	if s.cfg.People == nil {
		return errNoPeople
	}
	var given []string
	if in.Groups != nil {
		given = append([]string{}, *in.Groups...)
	}
	change, err := s.cfg.People.Sync(r.Context(), id, given, administrator(r.Context()))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, change)
}
