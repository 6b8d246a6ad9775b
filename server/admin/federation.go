package admin

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/server/enrol"
)

// Resolution is what a token resolves to, or the first step that fails and why.
type Resolution struct {
	OK     bool               `json:"ok"`
	Checks []federation.Check `json:"checks"`
	// The rest is there once a signature was verified and a rule admits it.
	Issuer    string            `json:"issuer,omitempty"`
	Subject   string            `json:"subject,omitempty"`
	Claims    federation.Claims `json:"claims,omitempty"`
	Rule      string            `json:"rule,omitempty"`
	AgentType string            `json:"agent_type,omitempty"`
	Principal string            `json:"principal,omitempty"`
}

// uses are the ways in which a token can be presented.
var uses = map[string]enrol.Use{"": enrol.Grant, "grant": enrol.Grant, "client": enrol.Client}

// testFederation is the dry run: it verifies a token as the token endpoint would, and
// enrols nobody.
func (s *Service) testFederation(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Token string `json:"token"`
		Use   string `json:"use"` // "grant" (default) or "client"
	}
	if err := body(w, r, &in); err != nil {
		return err
	}
	use, known := uses[in.Use]
	switch {
	case !known:
		return agentid.Invalidf("use", "want grant or client")
	case in.Token == "":
		return agentid.Invalidf("token", "is missing")
	case s.cfg.Workloads == nil && s.cfg.People == nil:
		return agentid.Invalidf("tenant", "this broker takes nobody in")
	}
	tenant := chi.URLParam(r, "tenant")
	if _, err := s.cfg.Ledger.Tenant(r.Context(), tenant); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if s.cfg.People != nil {
		person, found, err := s.cfg.People.Explain(r.Context(), tenant, in.Token)
		if err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		if found {
			return answer(w, http.StatusOK, Resolution{
				OK: person.OK, Checks: person.Checks, Issuer: person.Identity.Issuer, Subject: person.Identity.Subject,
				Claims: person.Identity.Claims, Principal: person.Principal.String(),
			})
		}
	}
	if s.cfg.Workloads == nil {
		return agentid.Invalidf("tenant", "this broker takes no workloads")
	}
	a, trace, err := s.cfg.Workloads.Admit(r.Context(), enrol.Request{Tenant: tenant, Use: use, Token: in.Token})
	out := Resolution{OK: err == nil, Checks: trace.Checks}
	if a.Identity.Issuer != "" {
		out.Issuer, out.Subject, out.Claims = a.Identity.Issuer, a.Identity.Subject, a.Identity.Claims
	}
	if err == nil {
		out.Rule, out.AgentType, out.Principal = a.Rule.Ref.Name(), a.Rule.Type.String(), a.Rule.Principal.String()
	}
	return answer(w, http.StatusOK, out)
}
