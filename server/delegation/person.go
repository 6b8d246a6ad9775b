package delegation

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/ledger"
)

// TypeDelegation is the subject_token_type of a standing delegation: its id, which is no
// secret. Only an agent of its principal and type can use it.
const TypeDelegation = "urn:agentid:params:oauth:token-type:delegation"

// Delegator is the person that a token request names, verified. The zero Delegator is
// nobody.
type Delegator struct {
	Principal agentid.Ref
	expires   time.Time
	standing  *ledger.Delegation
	mayAct    string // the only actor that their token admits, or ""
	clientID  string // the only client that an assertion is for, or ""
	assertion *oidc.Assertion
	spend     ledger.Assertion // an assertion that is used once; zero: none
	notes     map[string]string
}

// IsZero reports whether nobody is named.
func (d Delegator) IsZero() bool { return d.Principal.IsZero() }

// Read finds out which person of a tenant a token request names, and verifies it. A request
// that names none, such as an exchange of a parent's token, gives the zero Delegator. Every
// refusal is told as the standard has it, without saying which check failed: invalid_request
// for a subject token (RFC 8693 section 2.2.2), invalid_grant for an assertion. The cause is
// for the log.
func (s *Service) Read(ctx context.Context, issuer, tenant, grant string, form httpx.Form) (Delegator, error) {
	switch {
	case grant == discovery.GrantJWTBearer && typeOf(form.Get("assertion")) == oidc.TypeIDJAG:
		d, err := s.idJAG(ctx, issuer, tenant, form.Get("assertion"))
		return d.orRefuse(assertionRefused, err)
	case grant != discovery.GrantTokenExchange:
		return Delegator{}, nil
	}
	token, kind := form.Get("subject_token"), form.Get("subject_token_type")
	var d Delegator
	var err error
	switch {
	case kind == TypeDelegation:
		d, err = s.byDelegation(ctx, tenant, token)
	case kind == oidc.TypeAccessToken && strings.HasPrefix(token, ledger.LoginTokenPrefix):
		d, err = s.byLogin(ctx, tenant, token)
	case kind == oidc.TypeIDToken, (kind == oidc.TypeAccessToken || kind == oidc.TypeJWT) && s.foreign(token):
		d, err = s.byToken(ctx, tenant, token, kind)
	default:
		return Delegator{}, nil
	}
	if err == nil {
		err = parameters(form)
	}
	return d.orRefuse(subjectRefused, err)
}

// subjectRefused makes the refusal of a person's token invalid_request (RFC 8693 section
// 2.2.2). An outage stays one.
func subjectRefused(err error) error {
	switch agentid.KindOf(err) {
	case agentid.KindUnauthenticated, agentid.KindForbidden, agentid.KindNotFound:
		return agentid.Errorf(agentid.KindInvalid, "subject_token_refused", "the subject token is not accepted").WithField("subject_token").WithCause(err)
	default:
		return err
	}
}

func (d Delegator) orRefuse(refuse func(error) error, err error) (Delegator, error) {
	if err != nil {
		return Delegator{}, refuse(err)
	}
	return d, nil
}

// assertionRefused makes the refusal of an assertion invalid_grant. An outage stays one.
func assertionRefused(err error) error {
	switch agentid.KindOf(err) {
	case agentid.KindUnauthenticated, agentid.KindForbidden, agentid.KindInvalid, agentid.KindNotFound:
		return agentid.Errorf(agentid.KindInvalid, httperr.InvalidGrant, "the assertion is not accepted").WithField("assertion").WithCause(err)
	default:
		return err
	}
}

// parameters are those of RFC 8693 that an exchange of a person's token has. The actor is
// the client that authenticates, never what a request says.
func parameters(form httpx.Form) error {
	for _, name := range []string{"actor_token", "actor_token_type"} {
		if form.Get(name) != "" {
			return agentid.Errorf(agentid.KindInvalid, "actor_token_refused", "the actor is the client that authenticates").WithField(name)
		}
	}
	if requested := form.Get("requested_token_type"); requested != "" && requested != oidc.TypeAccessToken {
		return agentid.Invalidf("requested_token_type", "want %s", oidc.TypeAccessToken)
	}
	return nil
}

// hints reads typ and iss of a JWT that nobody has verified, to choose by and nothing else.
func hints(token string) (typ, iss string) {
	policy := keyset.Policy()
	policy.Types = []string{"", "JWT", "at+jwt", "application/at+jwt", oidc.TypeIDJAG}
	u, err := jws.Parse(token, policy)
	if err != nil {
		return "", ""
	}
	iss, _ = u.Hint("iss")
	return u.Header().Type, iss
}

func typeOf(token string) string { typ, _ := hints(token); return typ }

// foreign reports whether a token names an issuer that is not one of ours.
func (s *Service) foreign(token string) bool {
	_, iss := hints(token)
	_, ours := s.cfg.Issuers.Tenant(iss)
	return iss != "" && !ours
}

// provider opens the tenant's provider that a token names, if it takes part in a flow.
func (s *Service) provider(ctx context.Context, tenant, raw string, flow ledger.LoginFlow) (ledger.IdentityProvider, *oidc.Provider, error) {
	_, iss := hints(raw)
	set, err := s.cfg.Ledger.IdentityProviderByIssuer(ctx, tenant, iss)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return set, nil, federation.Refuse(federation.ReasonIssuer, "iss", "no identity provider of the tenant has this issuer", err)
	}
	if err == nil && !set.Allows(flow) {
		return set, nil, agentid.Errorf(agentid.KindForbidden, "flow_disabled", "the provider does not take part in this flow")
	}
	if err != nil {
		return set, nil, err
	}
	provider, err := s.cfg.Providers.Open(ctx, set)
	return set, provider, err
}

// byToken is a person by an ID token or a JWT access token of their provider.
func (s *Service) byToken(ctx context.Context, tenant, raw, kind string) (Delegator, error) {
	set, provider, err := s.provider(ctx, tenant, raw, ledger.FlowExchange)
	if err != nil {
		return Delegator{}, err
	}
	person, _, err := provider.Present(ctx, raw, kind)
	if err != nil {
		return Delegator{}, err
	}
	return s.person(ctx, set, person)
}

func (s *Service) person(ctx context.Context, set ledger.IdentityProvider, person oidc.Person) (Delegator, error) {
	p, err := s.cfg.Principals.Known(ctx, set, person)
	if err != nil {
		return Delegator{}, err
	}
	return Delegator{
		Principal: p.Ref, expires: person.Identity.Expires, mayAct: person.MayAct,
		notes: map[string]string{"person_by": set.Name, "person_token": person.Identity.ID},
	}, nil
}

// byLogin is a person by a token of a sign-in here.
func (s *Service) byLogin(ctx context.Context, tenant, raw string) (Delegator, error) {
	session, err := s.cfg.Ledger.LoginByToken(ctx, agentid.NewSecret(raw))
	if err == nil && session.Tenant != tenant {
		err = agentid.Errorf(agentid.KindUnauthenticated, "tenant_mismatch", "the session is of another tenant")
	}
	if err != nil {
		return Delegator{}, err
	}
	return Delegator{
		Principal: session.Principal, expires: session.Expires,
		notes: map[string]string{"person_by": "login", "session": session.ID},
	}, nil
}

// byDelegation is a person by what they delegated before.
func (s *Service) byDelegation(ctx context.Context, tenant, id string) (Delegator, error) {
	unknown := agentid.Errorf(agentid.KindForbidden, "delegation_unknown", "there is no such delegation")
	ref, err := agentid.ResourceRef(ledger.TypeDelegation, tenant, id)
	if err != nil {
		return Delegator{}, unknown.WithCause(err)
	}
	d, err := s.cfg.Ledger.Delegation(ctx, ref)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return Delegator{}, unknown.WithCause(err)
	}
	if err != nil {
		return Delegator{}, err
	}
	if state := s.view(d).State; state != "standing" {
		return Delegator{}, agentid.Errorf(agentid.KindForbidden, "delegation_"+state, "the delegation is %s", state)
	}
	return Delegator{Principal: d.Principal, expires: d.Expires, standing: &d, notes: map[string]string{"delegation": d.Ref.Name()}}, nil
}

// idJAG is a person by an identity assertion. It is used once.
func (s *Service) idJAG(ctx context.Context, issuer, tenant, raw string) (Delegator, error) {
	set, provider, err := s.provider(ctx, tenant, raw, ledger.FlowIDJAG)
	if err != nil {
		return Delegator{}, err
	}
	assertion, _, err := provider.IDJAG(ctx, raw, issuer)
	if err != nil {
		return Delegator{}, err
	}
	d, err := s.person(ctx, set, assertion.Person)
	if err != nil {
		return Delegator{}, err
	}
	d.clientID, d.assertion = assertion.ClientID, &assertion
	d.spend = ledger.Assertion{Client: set.Ref(), ID: assertion.Person.Identity.ID, Expires: assertion.Person.Identity.Expires.Add(federation.Skew)}
	return d, nil
}

// Authorize says what the person has an authenticated agent do: the agent is theirs, of a
// type that they may launch, the actor that their token admits, and, under a standing
// delegation, one that the graph lets use it now. names are what else the client is called:
// the subject of its workload identity.
func (s *Service) Authorize(ctx context.Context, d Delegator, agent issue.Agent, names ...string) (*issue.Delegated, error) {
	out, err := s.authorize(ctx, d, agent, append([]string{agent.Ref.String()}, names...))
	switch agentid.KindOf(err) {
	case agentid.KindForbidden, agentid.KindUnauthenticated: // the agent is known: it may know why
		if err != nil {
			return nil, httperr.WithCode(err, httperr.InvalidGrant)
		}
	default:
	}
	return out, err
}

func (s *Service) authorize(ctx context.Context, d Delegator, agent issue.Agent, names []string) (*issue.Delegated, error) {
	switch {
	case d.IsZero():
		return nil, agentid.Errorf(agentid.KindForbidden, "principal_missing", "nobody delegates")
	case agent.Principal != d.Principal:
		return nil, agentid.Errorf(agentid.KindForbidden, "not_the_principal", "the agent acts for another principal, for good: that person needs an agent of their own")
	case d.mayAct != "" && !slices.Contains(names, d.mayAct):
		return nil, agentid.Errorf(agentid.KindForbidden, "may_act", "the token admits another actor")
	case d.clientID != "" && !slices.Contains(names, d.clientID):
		return nil, agentid.Errorf(agentid.KindForbidden, "client_mismatch", "the assertion is for another client")
	}
	if err := s.cfg.Principals.MayLaunch(ctx, agent.Type, d.Principal); err != nil {
		return nil, err
	}
	out := &issue.Delegated{Principal: d.Principal, Expires: d.expires, Notes: d.notes}
	if d.standing != nil {
		return out, s.stand(ctx, *d.standing, agent, out)
	}
	if d.assertion != nil {
		if err := bound(*d.assertion, out); err != nil {
			return nil, err
		}
		return out, s.cfg.Ledger.UseAssertion(ctx, d.spend)
	}
	return out, nil
}

// Admits says whether a person's delegation may start an agent of a type that is not there
// yet: a workload that acts for whoever delegates to it.
func (s *Service) Admits(ctx context.Context, d Delegator, typ agentid.Ref) error {
	if d.standing != nil && d.standing.Type != typ {
		return httperr.WithCode(agentid.Errorf(agentid.KindForbidden, "delegation_refused", "the delegation is for agents of another type"), httperr.InvalidGrant)
	}
	err := s.cfg.Principals.MayLaunch(ctx, typ, d.Principal)
	if agentid.KindOf(err) == agentid.KindForbidden && err != nil {
		return httperr.WithCode(err, httperr.InvalidGrant)
	}
	return err
}

// Under records that an agent which is about to be made lives by the standing delegation.
// One that is there already does not: it was made otherwise.
func (s *Service) Under(ctx context.Context, d Delegator, agent agentid.Ref) error {
	if d.standing == nil {
		return nil
	}
	_, err := s.cfg.Ledger.Agent(ctx, agent)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return s.cfg.Ledger.AgentUnder(ctx, agent, d.standing.Ref)
	}
	return err
}

// stand makes a standing delegation what a token is made from.
func (s *Service) stand(ctx context.Context, d ledger.Delegation, agent issue.Agent, out *issue.Delegated) error {
	if d.Type != agent.Type {
		return agentid.Errorf(agentid.KindForbidden, "delegation_refused", "the delegation is for agents of another type")
	}
	if err := s.mayUse(ctx, d.Ref, agent.Ref); err != nil {
		return err
	}
	var capabilities []capability.Capability
	if err := json.Unmarshal(d.Capabilities, &capabilities); err != nil {
		return err
	}
	var operations []string
	for _, c := range capabilities {
		operations = append(operations, c.Operations...)
	}
	out.Standing = &capability.Claims{
		ID: d.Ref.Name(), Audience: d.Resource, Expiry: d.Expires, Capabilities: capabilities, Scope: strings.Join(operations, " "),
		Context: capability.Context{Tenant: d.Ref.Tenant(), Principal: d.Principal, AgentType: d.Type},
	}
	return nil
}

// bound reads what an assertion bounds its client to.
func bound(a oidc.Assertion, out *issue.Delegated) error {
	out.Operations, out.Resources = a.Scope, a.Resource
	if a.Details == nil {
		return nil
	}
	request, err := capability.ParseRequest(a.Details)
	if err != nil {
		return err
	}
	if len(request.Templates) > 0 {
		return agentid.Errorf(agentid.KindInvalid, "assertion_bounds", "the assertion calls a template")
	}
	out.Bounds = append([]capability.Capability{}, request.Capabilities...)
	return nil
}
