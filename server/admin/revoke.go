package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Filter is what a revocation in bulk selects by: names within the tenant. With an
// operation or a resource it means tokens that hold such a capability, else agents.
type Filter struct {
	Type          string    `json:"type,omitempty"`
	Principal     string    `json:"principal,omitempty"`
	CreatedBefore time.Time `json:"created_before,omitzero"` // no later than the call, which is the default
	Operation     string    `json:"operation,omitempty"`     // "payments:refund"
	Resource      string    `json:"resource,omitempty"`      // "payments_customer:acme/cus_1"
	All           bool      `json:"all,omitempty"`           // every agent of the tenant: needed when nothing else is given
}

// revokeRequest is the body of POST revocations: a target, or a filter.
type revokeRequest struct {
	Target string  `json:"target,omitempty"` // ref of a token, agent, principal, tenant, agent type or connector
	Filter *Filter `json:"filter,omitempty"`
	Reason string  `json:"reason,omitempty"` // default: "operator"
}

// Revoked is what a revocation came to: of one target, or of all that a filter selects.
type Revoked struct {
	Target  string `json:"target,omitempty"`
	Subject string `json:"subject"` // what was taken away: "token", "agent", …; with a filter "agents" or "tokens"
	revocation.Bulk
	State     string   `json:"state,omitempty"`
	FrozenFor []string `json:"frozen_for,omitempty"`
}

const defaultReason = "operator"

// postRevoke takes something away; with ?dry_run=true it says what would stop.
func (s *Service) postRevoke(w http.ResponseWriter, r *http.Request) error {
	var in revokeRequest
	if err := body(w, r, &in); err != nil {
		return err
	}
	o, err := s.orderOf(r.Context(), chi.URLParam(r, "tenant"), in)
	if err != nil {
		return err
	}
	switch v := r.URL.Query().Get("dry_run"); v {
	case "true":
		preview, err := s.preview(r.Context(), o)
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, preview)
	case "", "false":
	default:
		return agentid.Invalidf("dry_run", "want true or false")
	}
	out, err := s.revoke(r.Context(), o)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, out)
}

// revokeOrder is a checked request: a target, or a tenant with a selection.
type revokeOrder struct {
	target    agentid.Ref
	selection *ledger.Selection
	reason    string
}

func (s *Service) orderOf(ctx context.Context, tenant string, in revokeRequest) (revokeOrder, error) {
	out := revokeOrder{reason: in.Reason}
	if out.reason == "" {
		out.reason = defaultReason
	}
	if (in.Target == "") == (in.Filter == nil) {
		return out, agentid.Invalidf("target", "want a target or a filter")
	}
	if _, err := s.cfg.Ledger.Tenant(ctx, tenant); err != nil {
		return out, err //nolint:wrapcheck // an agentid.Error
	}
	var err error
	if in.Filter == nil {
		if out.target, err = agentid.ParseRef(in.Target); err != nil {
			return out, agentid.AsError(err).WithField("target")
		}
		if out.target.Tenant() != tenant {
			return out, agentid.Errorf(agentid.KindNotFound, out.target.Type()+"_unknown", "there is no such %s", out.target.Type()).WithField("target")
		}
		return out, nil
	}
	if out.target, err = agentid.TenantRef(tenant); err != nil {
		return out, agentid.AsError(err).WithField("tenant")
	}
	out.selection, err = in.Filter.selection(tenant, s.cfg.Now())
	return out, err
}

// selection reads a filter of a tenant.
func (f Filter) selection(tenant string, now time.Time) (*ledger.Selection, error) {
	out := ledger.Selection{Before: f.CreatedBefore.UTC(), Operation: f.Operation}
	var err error
	if f.Type != "" {
		if out.Type, err = agentid.AgentTypeRef(tenant, f.Type); err != nil {
			return nil, agentid.AsError(err).WithField("filter.type")
		}
	}
	if f.Principal != "" {
		if out.Principal, err = agentid.PrincipalRef(tenant, f.Principal); err != nil {
			return nil, agentid.AsError(err).WithField("filter.principal")
		}
	}
	if f.Resource != "" {
		if out.Resource, err = agentid.ParseRef(f.Resource); err != nil || out.Resource.Tenant() != tenant {
			return nil, agentid.Invalidf("filter.resource", "is not a resource of this tenant")
		}
	}
	if f.CreatedBefore.After(now) {
		return nil, agentid.Invalidf("filter.created_before", "is in the future: what is made later cannot be selected")
	}
	if named := f != (Filter{All: f.All}); named == f.All {
		return nil, agentid.Invalidf("filter", "want type, principal, created_before, operation or resource; or all")
	}
	if out.Before.IsZero() || f.CreatedBefore.IsZero() {
		out.Before = now
	}
	return &out, nil
}

// revoke carries an order out.
func (s *Service) revoke(ctx context.Context, o revokeOrder) (Revoked, error) {
	if o.selection != nil {
		return s.revokeSelected(ctx, o)
	}
	out := Revoked{Target: o.target.String(), Subject: o.target.Type()}
	if o.target.Type() == agentid.TypeToken {
		receipt, err := s.cfg.Revoker.Revoke(ctx, o.target, o.reason, administrator(ctx))
		out.Receipt = receipt
		return out, err //nolint:wrapcheck // an agentid.Error
	}
	change, err := s.Freeze(ctx, o.target, o.reason)
	if err != nil {
		return out, err
	}
	out.State, out.FrozenFor = change.State, change.FrozenFor
	if change.Revocation != nil {
		out.Receipt = *change.Revocation
	}
	if !change.Changed {
		out.Information = revocation.InfoAlreadyRevoked
	}
	return out, nil
}

func (s *Service) revokeSelected(ctx context.Context, o revokeOrder) (Revoked, error) {
	var err error
	out := Revoked{Target: o.target.String(), Subject: "agents"}
	if !o.selection.OfTokens() {
		out.Bulk, err = s.cfg.Agents.FreezeSelected(ctx, s.actor(ctx), o.target, *o.selection, o.reason)
		return out, err //nolint:wrapcheck // an agentid.Error
	}
	out.Subject = "tokens"
	record := s.freezeRecord(ctx, "revoke", o.target, o.reason)
	out.Bulk, err = s.cfg.Revoker.TokensOf(ctx, ledger.Revocation{
		Target: o.target, Filter: o.selection, Reason: o.reason, Actor: administrator(ctx),
	}, record)
	return out, err //nolint:wrapcheck // an agentid.Error
}

// replayFilter completes a revocation by filter.
func (s *Service) replayFilter(ctx context.Context, intent ledger.Revocation) error {
	replay := s.cfg.Agents.ReplaySelected
	if intent.Filter.OfTokens() {
		replay = s.cfg.Revoker.ReplayTokensOf
	}
	_, err := replay(ctx, intent)
	return err
}

// revocationView is one revocation as lists show it.
type revocationView struct {
	Epoch   agentid.Epoch     `json:"epoch"`
	Target  string            `json:"target"`
	Filter  *ledger.Selection `json:"filter,omitempty"`
	Reason  string            `json:"reason"`
	Actor   string            `json:"actor"`
	Created time.Time         `json:"created"`
	Settled time.Time         `json:"settled,omitzero"` // absent: denied, and replayed until it is
}

// listRevocations lists a tenant's revocations, oldest first, behind ?after (an epoch).
func (s *Service) listRevocations(w http.ResponseWriter, r *http.Request) error {
	tenant := chi.URLParam(r, "tenant")
	if _, err := s.cfg.Ledger.Tenant(r.Context(), tenant); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	p, err := page(r)
	if err != nil {
		return err
	}
	after, err := epochOf(p.After)
	if err != nil {
		return err
	}
	found, err := s.cfg.Ledger.Revocations(r.Context(), tenant, after, p.Limit)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	out := make([]revocationView, 0, len(found))
	for _, v := range found {
		out = append(out, revocationView{
			Epoch: v.Epoch, Target: v.Target.String(), Filter: v.Filter, Reason: v.Reason, Actor: v.Actor, Created: v.Created, Settled: v.Settled,
		})
	}
	return items(w, out)
}

// postUnfreezeSelected takes a reason away from all agents that a filter selects.
func (s *Service) postUnfreezeSelected(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Filter Filter `json:"filter"`
		Reason string `json:"reason"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	tenant, err := agentid.TenantRef(chi.URLParam(r, "tenant"))
	if err != nil {
		return agentid.AsError(err).WithField("tenant")
	}
	if _, err := s.cfg.Ledger.Tenant(r.Context(), tenant.Tenant()); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	selection, err := in.Filter.selection(tenant.Tenant(), s.cfg.Now())
	if err != nil {
		return err
	}
	if selection.OfTokens() {
		return agentid.Invalidf("filter", "agents are unfrozen by type, principal or created_before, or all")
	}
	var thawed agents.Thawed
	if thawed, err = s.cfg.Agents.ThawSelected(r.Context(), s.actor(r.Context()), tenant, *selection, in.Reason); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, thawed)
}
