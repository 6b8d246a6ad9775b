package delegation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Spec is what a person delegates.
type Spec struct {
	Type     string          `json:"type"`                  // name of the agent type, or its ref
	Details  json.RawMessage `json:"authorization_details"` // capabilities and template calls
	Resource string          `json:"resource"`              // the connector's; empty: the only one that fits
	Until    time.Time       `json:"until"`
}

// View is a delegation as answers show it.
type View struct {
	ID       string          `json:"id"`
	Type     agentid.Ref     `json:"type"`
	Details  json.RawMessage `json:"authorization_details"`
	Resource string          `json:"resource"`
	Created  time.Time       `json:"created"`
	Until    time.Time       `json:"until"`
	State    string          `json:"state"` // "standing", "expired" or "revoked"
	Agents   []agentid.Ref   `json:"agents,omitempty"`
}

func (s *Service) view(d ledger.Delegation) View {
	v := View{ID: d.Ref.Name(), Type: d.Type, Details: d.Capabilities, Resource: d.Resource, Created: d.Created, Until: d.Expires, State: "standing"}
	switch {
	case !d.Revoked.IsZero():
		v.State = "revoked"
	case !d.Expires.After(s.cfg.Now()):
		v.State = "expired"
	}
	return v
}

// Grant lets agents of a type act for a principal, on some capabilities, until a time. The
// row comes first: it gives nothing before its edges are there. Refusals: KindInvalid naming
// the field, KindForbidden launch_refused, and those of issue.Mint.Resolve.
func (s *Service) Grant(ctx context.Context, principal agentid.Ref, spec Spec) (View, error) {
	typ, err := typeRef(principal.Tenant(), spec.Type)
	if err != nil {
		return View{}, err
	}
	now := s.cfg.Now()
	switch {
	case spec.Until.IsZero() || !spec.Until.After(now):
		return View{}, agentid.Invalidf("until", "want a time to come")
	case spec.Until.After(now.Add(MaxLife)):
		return View{}, agentid.Invalidf("until", "is later than %s from now", MaxLife)
	}
	row, err := s.cfg.Ledger.AgentType(ctx, typ)
	if err != nil && agentid.KindOf(err) != agentid.KindNotFound {
		return View{}, err
	}
	// A type that is not there looks like one that may not be launched.
	if err := s.cfg.Principals.MayLaunch(ctx, typ, principal); err != nil {
		return View{}, err
	}
	request, err := capability.ParseRequest(spec.Details)
	if err != nil {
		return View{}, agentid.AsError(err).WithField("authorization_details")
	}
	capabilities, resource, err := s.cfg.Resolver.Resolve(ctx, principal.Tenant(), row.Templates, request, spec.Resource)
	if err != nil {
		return View{}, err
	}
	d := ledger.Delegation{Principal: principal, Type: typ, Resource: resource, Created: now.UTC(), Expires: spec.Until.UTC().Truncate(time.Second)}
	if d.Ref, err = agentid.ResourceRef(ledger.TypeDelegation, principal.Tenant(), "d-"+strings.ToLower(rand.Text())); err != nil {
		return View{}, err
	}
	if d.Capabilities, err = json.Marshal(capabilities); err != nil {
		return View{}, err
	}
	if err := s.cfg.Ledger.PutDelegation(ctx, d, s.record(ctx, "delegation.grant", d)); err != nil {
		return View{}, err
	}
	wanted, err := edges(d)
	if err != nil {
		return View{}, err
	}
	updates, err := relations.All(relations.Set{Wanted: wanted})
	if err != nil {
		return View{}, err
	}
	if _, err := s.graph.Write(context.WithoutCancel(ctx), updates); err != nil {
		return View{}, err
	}
	return s.view(d), nil
}

// typeRef reads an agent type by its name or its ref.
func typeRef(tenant, text string) (agentid.Ref, error) {
	if text == "" {
		return agentid.Ref{}, agentid.Invalidf("type", "is required")
	}
	ref, err := agentid.AgentTypeRef(tenant, text)
	if strings.Contains(text, ":") {
		ref, err = agentid.ParseRefAs(agentid.TypeAgentType, text)
	}
	if err != nil {
		return ref, agentid.AsError(err).WithField("type")
	}
	return ref, nil
}

// List is a principal's delegations, those that ended too, until they are asked for no
// more.
func (s *Service) List(ctx context.Context, principal agentid.Ref, p ledger.Page) ([]View, error) {
	found, err := s.cfg.Ledger.Delegations(ctx, principal, p)
	if err != nil {
		return nil, err
	}
	out := make([]View, 0, len(found))
	for _, d := range found {
		v := s.view(d)
		if v.Agents, err = s.cfg.Ledger.AgentsUnder(ctx, d.Ref); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// own finds a delegation of a principal: another's does not exist for them.
func (s *Service) own(ctx context.Context, principal agentid.Ref, id string) (ledger.Delegation, error) {
	unknown := agentid.Errorf(agentid.KindNotFound, "delegation_unknown", "there is no such delegation")
	ref, err := agentid.ResourceRef(ledger.TypeDelegation, principal.Tenant(), id)
	if err != nil {
		return ledger.Delegation{}, unknown.WithCause(err)
	}
	d, err := s.cfg.Ledger.Delegation(ctx, ref)
	if err == nil && d.Principal != principal {
		err = unknown
	}
	return d, err
}

// Revoke takes a delegation back. When it returns without an error, nothing is minted
// under it, no token under it is good for a request that starts afterwards, and the agents
// that live by it are retired. It may be repeated, and completes what an attempt before it
// left. KindNotFound delegation_unknown.
func (s *Service) Revoke(ctx context.Context, principal agentid.Ref, id string) (View, error) {
	d, err := s.own(ctx, principal, id)
	if err != nil {
		return View{}, err
	}
	ctx = context.WithoutCancel(ctx) // what was begun is ended
	record := s.record(ctx, "delegation.revoke", d)
	record.Kind = auditlog.Revoke
	if err := s.cfg.Ledger.RevokeDelegation(ctx, d.Ref, record); err != nil {
		return View{}, err
	}
	if err := s.revokeTokens(ctx, d); err != nil {
		return View{}, err
	}
	if err := s.removeEdges(ctx, d); err != nil {
		return View{}, err
	}
	under, err := s.cfg.Ledger.AgentsUnder(ctx, d.Ref)
	if err != nil {
		return View{}, err
	}
	for _, agent := range under {
		if err := s.retire(ctx, d, agent); err != nil {
			return View{}, err
		}
	}
	d.Revoked = s.cfg.Now()
	v := s.view(d)
	v.Agents = under
	return v, nil
}

// retire ends an agent that lives by a delegation. One that was recorded and never made is
// nobody's; an agent of its name that somebody else made is left alone.
func (s *Service) retire(ctx context.Context, d ledger.Delegation, agent agentid.Ref) error {
	row, err := s.cfg.Ledger.Agent(ctx, agent)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return nil
	}
	if err != nil || row.Principal != d.Principal || row.Type != d.Type {
		return err
	}
	_, err = s.cfg.Agents.Retire(ctx, agents.Actor{Principal: d.Principal}, agent)
	return err
}

// revokeTokens takes the delegation out of every chain that it is in: one edge, behind an
// intent that survives a crash.
func (s *Service) revokeTokens(ctx context.Context, d ledger.Delegation) error {
	ref, err := token(d)
	if err != nil {
		return err
	}
	// The edge denies everybody; whom it is read back for does not matter.
	reader, err := agentid.AgentRef(d.Ref.Tenant(), d.Ref.Name())
	if err != nil {
		return err
	}
	_, err = s.cfg.Revoker.Token(ctx, revocation.Order{
		Token: ref, Agent: reader, Expires: d.Expires, Reason: "delegation taken back", Actor: d.Principal.String(),
		Record: auditlog.Record{Request: httpx.RequestID(ctx), Principal: d.Principal.String(), AgentType: d.Type.String()},
	})
	return err
}

func (s *Service) removeEdges(ctx context.Context, d ledger.Delegation) error {
	unwanted, err := edges(d)
	if err != nil {
		return err
	}
	set := relations.Set{Unwanted: unwanted}
	updates, err := s.graph.Pending(ctx, set)
	if err != nil || len(updates) == 0 {
		return err
	}
	if _, err := s.graph.Write(ctx, updates); err != nil {
		return err
	}
	left, err := s.graph.Pending(ctx, set)
	if err == nil && len(left) > 0 {
		err = agentid.Unavailable("graph_unavailable", nil)
	}
	return err
}

// Launch is an agent that a person starts for themselves.
type Launch struct {
	Type       string          `json:"type"`
	Name       string          `json:"name"`
	Key        json.RawMessage `json:"key"`
	KeyProof   string          `json:"key_proof"`
	Expires    time.Time       `json:"expires"`
	Ceiling    json.RawMessage `json:"ceiling"`
	Delegation string          `json:"delegation"` // it lives by this one: its ceiling, its end
}

// Start launches an agent of a type that the principal may launch, for the principal. The
// proof shows that the agent's key is there. Refusals: KindForbidden launch_refused,
// delegation_ended, and those of agents.Service.Spawn.
func (s *Service) Start(ctx context.Context, principal agentid.Ref, issuer string, l Launch) (agents.Agent, error) {
	typ, err := typeRef(principal.Tenant(), l.Type)
	if err != nil {
		return agents.Agent{}, err
	}
	if err := s.cfg.Principals.MayLaunch(ctx, typ, principal); err != nil {
		return agents.Agent{}, err
	}
	if l.Name == "" {
		return agents.Agent{}, agentid.Invalidf("name", "is required")
	}
	spec := agents.Spec{
		Tenant: principal.Tenant(), Name: l.Name, Type: typ, Principal: principal, Key: l.Key, Proof: l.KeyProof, Issuer: issuer,
		Expires: l.Expires, Ceiling: l.Ceiling,
	}
	if l.Delegation != "" {
		if err := s.under(ctx, principal, l.Delegation, &spec); err != nil {
			return agents.Agent{}, err
		}
	}
	started, err := s.cfg.Agents.Register(ctx, agents.Actor{Principal: principal}, spec)
	if agentid.ReasonOf(err) == "lifetime_exceeds_limit" && err != nil && l.Expires.IsZero() {
		spec.Expires = time.Time{} // as long as limits allow, which is less than the delegation does
		started, err = s.cfg.Agents.Register(ctx, agents.Actor{Principal: principal}, spec)
	}
	if err != nil || l.Delegation == "" {
		return started, err
	}
	// One that was taken back meanwhile may have looked for its agents before this one.
	d, err := s.own(ctx, principal, l.Delegation)
	if err == nil && s.view(d).State != "standing" {
		err = agentid.Errorf(agentid.KindForbidden, "delegation_ended", "the delegation was taken back meanwhile").WithField("delegation")
		if failed := s.retire(context.WithoutCancel(ctx), d, started.Ref); failed != nil {
			err = failed
		}
	}
	return started, err
}

// under makes an agent-to-be live by a delegation, and records that before it is made.
func (s *Service) under(ctx context.Context, principal agentid.Ref, id string, spec *agents.Spec) error {
	d, err := s.own(ctx, principal, id)
	if err != nil {
		return err
	}
	if v := s.view(d); v.State != "standing" {
		return agentid.Errorf(agentid.KindForbidden, "delegation_ended", "the delegation is %s", v.State).WithField("delegation")
	}
	switch {
	case d.Type != spec.Type:
		return agentid.Invalidf("delegation", "is for agents of another type")
	case len(spec.Ceiling) > 0:
		return agentid.Invalidf("ceiling", "is the delegation's")
	case spec.Expires.IsZero() || spec.Expires.After(d.Expires):
		spec.Expires = d.Expires
	}
	spec.Ceiling = d.Capabilities
	agent, err := agentid.AgentRef(spec.Tenant, spec.Name)
	if err != nil {
		return agentid.AsError(err).WithField("name")
	}
	if _, err := s.cfg.Ledger.Agent(ctx, agent); err == nil {
		return agentid.Errorf(agentid.KindConflict, "agent_exists", "there is an agent of this name").WithField("name")
	} else if agentid.KindOf(err) != agentid.KindNotFound {
		return err
	}
	return s.cfg.Ledger.AgentUnder(ctx, agent, d.Ref)
}

// record is the audit row of a change of one delegation.
func (s *Service) record(ctx context.Context, operation string, d ledger.Delegation) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Admin, Phase: auditlog.Single, Request: httpx.RequestID(ctx), Tenant: d.Ref.Tenant(), Principal: d.Principal.String(),
		AgentType: d.Type.String(), Operation: operation, Resource: d.Ref.String(), Decision: auditlog.Allow,
		Notes: map[string]string{"until": d.Expires.UTC().Format(time.RFC3339), "connector": d.Resource},
	}
}
