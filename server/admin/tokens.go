package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/ledger"
)

// tokenView is one issued token, without the token itself.
type tokenView struct {
	Ref       string          `json:"ref"`
	Agent     string          `json:"agent"`
	Principal string          `json:"principal"`
	Audience  string          `json:"audience"`
	Issued    time.Time       `json:"issued"`
	Expires   time.Time       `json:"expires"`
	Details   json.RawMessage `json:"authorization_details,omitempty"`
}

// listTokens lists tokens that are neither expired nor revoked, by ?agent and
// ?principal (names).
func (s *Service) listTokens(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	f := ledger.TokenFilter{Tenant: chi.URLParam(r, "tenant"), Audience: r.URL.Query().Get("audience"), Page: p}
	if _, err := s.cfg.Ledger.Tenant(r.Context(), f.Tenant); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if name := r.URL.Query().Get("agent"); name != "" {
		if f.Agent, err = agentid.AgentRef(f.Tenant, name); err != nil {
			return err //nolint:wrapcheck // names the field
		}
	}
	if name := r.URL.Query().Get("principal"); name != "" {
		if f.Principal, err = agentid.PrincipalRef(f.Tenant, name); err != nil {
			return err //nolint:wrapcheck // names the field
		}
	}
	found, err := s.cfg.Ledger.Tokens(r.Context(), f)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	out := make([]tokenView, 0, len(found))
	for _, t := range found {
		v := tokenView{
			Ref: t.Ref.String(), Agent: t.Agent.String(), Principal: t.Principal.String(), Audience: t.Audience,
			Issued: t.Issued, Expires: t.Expires,
		}
		if json.Valid(t.Details) {
			v.Details = t.Details
		}
		out = append(out, v)
	}
	return items(w, out)
}

// revokeToken takes one token back. A token of another tenant is unknown.
func (s *Service) revokeToken(w http.ResponseWriter, r *http.Request) error {
	token, err := agentid.TokenRef(chi.URLParam(r, "tenant"), chi.URLParam(r, "jti"))
	if err != nil {
		return agentid.Errorf(agentid.KindNotFound, "token_unknown", "there is no such token")
	}
	receipt, err := s.cfg.Revoker.Revoke(r.Context(), token, "administrator", administrator(r.Context()))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, receipt)
}
