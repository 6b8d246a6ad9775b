package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
)

func (s *Service) postRetire(w http.ResponseWriter, r *http.Request) error {
	id, err := ref(r, KindAgent)
	if err != nil {
		return err
	}
	change, err := s.Retire(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, change)
}

// postRespawn starts an agent of the same type and ceiling under another principal, and
// retires the one that the path names.
func (s *Service) postRespawn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name      string          `json:"name"`
		Principal string          `json:"principal"`
		Parent    string          `json:"parent"`
		ChildKind string          `json:"child_kind"`
		Key       json.RawMessage `json:"key"`
		Expires   time.Time       `json:"expires"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	id, err := ref(r, KindAgent)
	if err != nil {
		return err
	}
	spec := agents.Spec{Name: in.Name, Key: in.Key, Expires: in.Expires}
	if spec.Kind, err = ledger.ParseChildKind(in.ChildKind); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if spec.Principal, err = agentid.PrincipalRef(id.Tenant(), in.Principal); err != nil {
		return agentid.AsError(err).WithField("principal")
	}
	if in.Parent != "" {
		if spec.Parent, err = agentid.AgentRef(id.Tenant(), in.Parent); err != nil {
			return agentid.AsError(err).WithField("parent")
		}
	}
	fresh, err := s.cfg.Agents.Respawn(r.Context(), s.actor(r.Context()), id, spec)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusCreated, fresh)
}

// putCeiling narrows an agent's ceiling.
func (s *Service) putCeiling(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Ceiling json.RawMessage `json:"ceiling"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	id, err := ref(r, KindAgent)
	if err != nil {
		return err
	}
	narrowed, err := s.cfg.Agents.Narrow(r.Context(), s.actor(r.Context()), id, in.Ceiling)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, narrowed)
}

// getTree shows who acts for whom below an agent or a principal; with ?all=true those
// that ended, too.
func (s *Service) getTree(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := ref(r, kind)
		if err != nil {
			return err
		}
		tree, err := s.cfg.Agents.Tree(r.Context(), id, r.URL.Query().Get("all") == "true")
		if err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		return answer(w, http.StatusOK, tree)
	}
}

// getLineage describes an agent with all that is known of it.
func (s *Service) getLineage(w http.ResponseWriter, r *http.Request) error {
	id, err := ref(r, KindAgent)
	if err != nil {
		return err
	}
	found, err := s.cfg.Agents.Describe(r.Context(), id)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, found)
}
