package admin

import (
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/ledger"
)

// secretView is what is shown of a secret that was given out. Secret is there only in
// the answer to the call that made it.
type secretView struct {
	ID      string    `json:"id"`
	Subject string    `json:"subject"`
	Created time.Time `json:"created"`
	Secret  string    `json:"secret,omitempty"`
}

func viewSecret(i ledger.SecretInfo, secret agentid.Secret) secretView {
	return secretView{ID: i.ID, Subject: i.Subject, Created: i.Created, Secret: secret.Reveal()}
}

func viewSecrets(list []ledger.SecretInfo) []secretView {
	out := make([]secretView, 0, len(list))
	for _, i := range list {
		out = append(out, viewSecret(i, agentid.Secret{}))
	}
	return out
}

func (s *Service) putCredential(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Credential string `json:"credential"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	id, err := ref(r, KindConnector)
	if err != nil {
		return err
	}
	if in.Credential == "" {
		return agentid.Invalidf("credential", "is required")
	}
	err = s.cfg.Ledger.PutCredential(r.Context(), id, agentid.NewSecret(in.Credential), s.record(r.Context(), "connector.credential", id, id.String()))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return s.done(w, r)
}

func (s *Service) deleteCredential(w http.ResponseWriter, r *http.Request) error {
	id, err := ref(r, KindConnector)
	if err != nil {
		return err
	}
	if err := s.cfg.Ledger.DeleteCredential(r.Context(), id, s.record(r.Context(), "connector.credential.delete", id, id.String())); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return s.done(w, r)
}

// done answers 204 once gateways see the change.
func (s *Service) done(w http.ResponseWriter, r *http.Request) error {
	if err := s.settings(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listSecrets(w http.ResponseWriter, r *http.Request) error {
	id, err := ref(r, KindConnector)
	if err != nil {
		return err
	}
	if _, err := s.cfg.Ledger.ConnectorSetting(r.Context(), id); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	list, err := s.cfg.Ledger.ClientSecrets(r.Context(), id)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return items(w, viewSecrets(list))
}

// addSecret makes a secret for the service behind a connector. It is in this answer and
// nowhere else.
func (s *Service) addSecret(w http.ResponseWriter, r *http.Request) error {
	id, err := ref(r, KindConnector)
	if err != nil {
		return err
	}
	info, secret, err := s.cfg.Ledger.AddClientSecret(r.Context(), id, s.record(r.Context(), "connector.secret.add", id, id.String()))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusCreated, viewSecret(info, secret))
}

func (s *Service) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	id, err := ref(r, KindConnector)
	if err != nil {
		return err
	}
	err = s.cfg.Ledger.DeleteClientSecret(r.Context(), id, chi.URLParam(r, "id"), s.record(r.Context(), "connector.secret.delete", id, id.String()))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listAdmins(w http.ResponseWriter, r *http.Request) error {
	list, err := s.cfg.Ledger.Admins(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return items(w, viewSecrets(list))
}

func (s *Service) addAdmin(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	info, secret, err := s.cfg.Ledger.AddAdmin(r.Context(), in.Name, s.record(r.Context(), "admin.add", agentid.Ref{}, in.Name))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusCreated, viewSecret(info, secret))
}

// rotateAdmin exchanges the credential that the call came with. The old one is refused
// from then on.
func (s *Service) rotateAdmin(w http.ResponseWriter, r *http.Request) error {
	id := administrator(r.Context())
	info, secret, err := s.cfg.Ledger.RotateAdmin(r.Context(), id, s.record(r.Context(), "admin.rotate", agentid.Ref{}, id))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusCreated, viewSecret(info, secret))
}

func (s *Service) deleteAdmin(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "id")
	if err := s.cfg.Ledger.DeleteAdmin(r.Context(), id, s.record(r.Context(), "admin.delete", agentid.Ref{}, id)); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
