package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/signer"
)

// keyView is one signing key, without its private half.
type keyView struct {
	ID             string    `json:"kid"`
	Algorithm      string    `json:"alg"`
	State          string    `json:"state"`
	Staged         time.Time `json:"staged,omitzero"`
	Activated      time.Time `json:"activated,omitzero"`
	Retired        time.Time `json:"retired,omitzero"`
	PublishedUntil time.Time `json:"published_until,omitzero"`
}

func viewKey(i signer.Info) keyView {
	return keyView{
		ID: i.ID, Algorithm: i.Algorithm, State: i.State.String(), Staged: i.StagedAt,
		Activated: i.ActivatedAt, Retired: i.RetiredAt, PublishedUntil: i.PublishedUntil,
	}
}

func (s *Service) listKeys(w http.ResponseWriter, _ *http.Request) error {
	var out []keyView
	for _, i := range s.cfg.Signer.Keys() {
		out = append(out, viewKey(i))
	}
	return items(w, out)
}

func (s *Service) stageKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Algorithm string `json:"alg"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	if err := s.audit(r.Context(), s.record(r.Context(), "key.stage", agentid.Ref{}, in.Algorithm)); err != nil {
		return err
	}
	info, err := s.cfg.Signer.Stage(r.Context(), in.Algorithm)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if err := s.keysChanged(r.Context()); err != nil {
		return err
	}
	return answer(w, http.StatusCreated, viewKey(info))
}

func (s *Service) activateKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Now bool `json:"now,omitempty"` // the active key has leaked: do not wait for verifiers
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	kid := chi.URLParam(r, "kid")
	if err := s.audit(r.Context(), s.record(r.Context(), "key.activate", agentid.Ref{}, kid)); err != nil {
		return err
	}
	activate := s.cfg.Signer.Activate
	if in.Now {
		activate = s.cfg.Signer.ActivateNow
	}
	if err := activate(r.Context(), kid); err != nil {
		return err
	}
	if err := s.keysChanged(r.Context()); err != nil {
		return err
	}
	return s.listKeys(w, r)
}

func (s *Service) retireKey(w http.ResponseWriter, r *http.Request) error {
	kid := chi.URLParam(r, "kid")
	if err := s.audit(r.Context(), s.record(r.Context(), "key.retire", agentid.Ref{}, kid)); err != nil {
		return err
	}
	if err := s.cfg.Signer.Retire(r.Context(), kid); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if err := s.keysChanged(r.Context()); err != nil {
		return err
	}
	return s.listKeys(w, r)
}

// keysChanged makes every gateway read the token keys again.
func (s *Service) keysChanged(ctx context.Context) error {
	s.cfg.Hub.Publish(wire.Event{Kind: wire.EventSettings})
	return s.flush(ctx)
}

func (s *Service) getSchema(w http.ResponseWriter, r *http.Request) error {
	text, err := schema.Current(r.Context(), s.cfg.Schema)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, map[string]any{"text": text, "program_version": schema.Version()})
}

// applySchema writes the schema of this program where the graph has another one.
func (s *Service) applySchema(w http.ResponseWriter, r *http.Request) error {
	if err := s.audit(r.Context(), s.record(r.Context(), "schema.apply", agentid.Ref{}, schema.Version())); err != nil {
		return err
	}
	changed, zookie, err := schema.Apply(r.Context(), s.cfg.Schema)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, map[string]any{"changed": changed, "zookie": string(zookie), "program_version": schema.Version()})
}
