package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/agents"
)

// header is the header that the path names.
func header(r *http.Request, kind string) Header {
	if kind == KindTenant {
		return Header{Kind: kind, Name: chi.URLParam(r, "tenant")}
	}
	return Header{Kind: kind, Tenant: chi.URLParam(r, "tenant"), Name: chi.URLParam(r, "name")}
}

// ref is the object that the path names.
func ref(r *http.Request, kind string) (agentid.Ref, error) {
	o := newObject(kind)
	*o.head() = header(r, kind)
	return o.name()
}

// putObject declares one object: apply for a set of one. What the path says need not be
// in the body, and must not differ there.
func (s *Service) putObject(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := httpx.CheckContentType(r, "application/json"); err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		data, err := httpx.ReadBody(w, r, maxBody)
		if err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		o := newObject(kind)
		if err := decode(data, o); err != nil {
			return err
		}
		want, have := header(r, kind), o.head()
		for _, f := range []struct{ name, want, have string }{
			{"kind", want.Kind, have.Kind}, {"tenant", want.Tenant, have.Tenant}, {"name", want.Name, have.Name},
		} {
			if f.have != "" && f.have != f.want {
				return agentid.Invalidf(f.name, "differs from the path")
			}
		}
		*have = want
		return s.applyOne(w, r, o)
	}
}

func (s *Service) applyOne(w http.ResponseWriter, r *http.Request, o object) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	plan, err := s.Apply(r.Context(), []Document{{Object: data}}, r.URL.Query().Get("dry_run") == "true")
	if err != nil {
		return err
	}
	status := http.StatusOK
	if plan.Changes[0].Action == ActionCreate && !plan.DryRun {
		status = http.StatusCreated
	}
	return answer(w, status, plan.Changes[0])
}

func (s *Service) getObject(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		o, err := s.object(r.Context(), kind, header(r, kind))
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, o)
	}
}

// object reads one object with its state: KindNotFound when it is not there.
func (s *Service) object(ctx context.Context, kind string, h Header) (object, error) {
	like := newObject(kind)
	*like.head() = h
	id, err := like.name()
	if err != nil {
		return nil, agentid.Errorf(agentid.KindNotFound, kind+"_unknown", "there is no such %s", kind)
	}
	if ledgerOnly(kind) {
		found, err := like.current(ctx, s)
		if err == nil && found == nil {
			err = agentid.Errorf(agentid.KindNotFound, kind+"_unknown", "there is no such %s", kind)
		}
		if err != nil {
			return nil, err
		}
		return found, s.fill(ctx, id, found)
	}
	found, err := s.named(ctx, id)
	if err != nil {
		return nil, err
	}
	return found, s.fill(ctx, id, found)
}

// ledgerOnly are the kinds that have no state and no edges of their own.
func ledgerOnly(kind string) bool {
	switch kind {
	case KindTemplate, KindIdentityProvider, KindLoginClient, KindWorkloadIssuer, KindEnrolmentRule:
		return true
	}
	return false
}

// fill adds what answers say beside the declaration.
func (s *Service) fill(ctx context.Context, id agentid.Ref, o object) error {
	if provider, ok := o.(*IdentityProvider); ok {
		secret, _, err := s.cfg.Ledger.ProviderSecret(ctx, provider.Tenant, provider.Name)
		provider.ClientSecretSet = !secret.IsZero()
		return err //nolint:wrapcheck // an agentid.Error
	}
	if ledgerOnly(o.head().Kind) {
		return nil
	}
	state, err := s.state(ctx, id)
	if err != nil {
		return err
	}
	switch o := o.(type) {
	case *Tenant:
		o.State = state
	case *Principal:
		o.State = state
	case *AgentType:
		o.State = state
	case *Agent:
		o.State = state
	case *Connector:
		o.State = state
		credential, err := s.cfg.Ledger.Credential(ctx, id)
		if err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		o.CredentialSet = credential.Set
	}
	return nil
}

// deleteObject takes an object away: edges first, then the row. An object that others
// refer to keeps both.
func (s *Service) deleteObject(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		s.mu.Lock()
		defer s.mu.Unlock()
		o, err := s.object(ctx, kind, header(r, kind))
		if err != nil {
			return err
		}
		id, err := o.name()
		if err != nil {
			return err
		}
		stands, err := o.edges(ctx, s)
		if err != nil {
			return err
		}
		gone, err := s.pending(ctx, edges{unwanted: append(stands.wanted, stands.unwanted...)})
		if err != nil {
			return err
		}
		if len(gone) > 0 {
			// On record before anything is taken away: a crash leaves it open.
			begin := s.removed(ctx, kind, id, id.String())
			begin.Phase = auditlog.Begin
			if err := s.audit(ctx, begin); err != nil {
				return err
			}
			if _, err := s.writeEdges(ctx, gone); err != nil {
				return err
			}
		}
		if err := s.deleteRow(ctx, kind, id, len(gone) > 0); err != nil {
			if len(gone) == 0 {
				return err
			}
			return s.undelete(ctx, stands, kind, id, err)
		}
		if err := s.settings(ctx); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// restore puts edges back when the row stays.
func (s *Service) restore(ctx context.Context, stands edges, cause error) error {
	updates, err := s.pending(ctx, stands)
	if err == nil && len(updates) > 0 {
		_, err = s.writeEdges(ctx, updates)
	}
	if err != nil {
		return agentid.AsError(err)
	}
	return cause
}

// undelete brings the edges back and closes the audit entry with why.
func (s *Service) undelete(ctx context.Context, stands edges, kind string, id agentid.Ref, cause error) error {
	cause = s.restore(ctx, stands, cause)
	finish := s.removed(ctx, kind, id, id.String())
	finish.Phase, finish.Decision, finish.Reason = auditlog.Finish, auditlog.Deny, agentid.ReasonOf(cause)
	return errors.Join(cause, s.audit(ctx, finish))
}

func (s *Service) deleteRow(ctx context.Context, kind string, id agentid.Ref, begun bool) error {
	record, l := s.removed(ctx, kind, id, id.String()), s.cfg.Ledger
	if begun {
		record.Phase = auditlog.Finish
	}
	switch kind {
	case KindTenant:
		return l.DeleteTenant(ctx, id, record) //nolint:wrapcheck // an agentid.Error
	case KindPrincipal:
		return l.DeletePrincipal(ctx, id, record) //nolint:wrapcheck // an agentid.Error
	case KindAgentType:
		return l.DeleteAgentType(ctx, id, record) //nolint:wrapcheck // an agentid.Error
	case KindConnector:
		return l.DeleteConnector(ctx, id, record) //nolint:wrapcheck // an agentid.Error
	case KindTemplate:
		return l.DeleteTemplate(ctx, id.Tenant(), id.Name(), record) //nolint:wrapcheck // an agentid.Error
	case KindIdentityProvider:
		if err := s.forget(ctx, id); err != nil {
			return err
		}
		return l.DeleteIdentityProvider(ctx, id.Tenant(), id.Name(), record) //nolint:wrapcheck // an agentid.Error
	case KindWorkloadIssuer:
		return l.DeleteWorkloadIssuer(ctx, id.Tenant(), id.Name(), record) //nolint:wrapcheck // an agentid.Error
	case KindEnrolmentRule:
		return l.DeleteEnrolmentRule(ctx, id.Tenant(), id.Name(), record) //nolint:wrapcheck // an agentid.Error
	case KindLoginClient:
		return l.DeleteLoginClient(ctx, id.Tenant(), id.Name(), record) //nolint:wrapcheck // an agentid.Error
	default:
		return agentid.Invalidf("kind", "this cannot be deleted")
	}
}

// reasonOf is the body of freeze and unfreeze.
type reasonOf struct {
	Reason string `json:"reason"`
}

func (s *Service) postFreeze(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		return s.changeState(w, r, kind, s.Freeze)
	}
}

func (s *Service) postUnfreeze(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		return s.changeState(w, r, kind, s.Unfreeze)
	}
}

func (s *Service) changeState(w http.ResponseWriter, r *http.Request, kind string, change func(context.Context, agentid.Ref, string) (agents.Change, error)) error {
	var in reasonOf
	if err := body(w, r, &in); err != nil {
		return err
	}
	id, err := ref(r, kind)
	if err != nil {
		return err
	}
	state, err := change(r.Context(), id, in.Reason)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, state)
}
