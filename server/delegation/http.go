package delegation

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/trail"
)

// Path is where the endpoints of people are, below a tenant's issuer.
const Path = "/people/v1"

const maxBody = 64 << 10

// Routes registers the endpoints of people about themselves. Each wants the access token of
// a sign-in; the root issuer has no people.
func (s *Service) Routes(r chi.Router) {
	const at = "/{" + discovery.ParamTenant + "}" + Path
	r.Get(at+"/self", s.handle("people.self", s.self))
	r.Post(at+"/logout", s.handle("people.logout", s.logout))
	r.Get(at+"/delegations", s.handle("delegation.list", s.list))
	r.Post(at+"/delegations", s.handle("delegation.grant", s.grant))
	r.Delete(at+"/delegations/{id}", s.handle("delegation.revoke", s.revoke))
	r.Post(at+"/agents", s.handle("agent.launch", s.launch))
}

type handler func(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error

// handle authenticates a person, and audits a refusal.
func (s *Service) handle(operation string, h handler) http.HandlerFunc {
	return httperr.Handler(s.cfg.Logger, httperr.Problem, func(w http.ResponseWriter, r *http.Request) error {
		ctx, tenant := r.Context(), chi.URLParam(r, discovery.ParamTenant)
		about := auditlog.Record{Kind: auditlog.Admin, Tenant: tenant, Operation: operation}
		session, err := s.signedIn(ctx, r, tenant)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="agentid people"`)
			s.cfg.Trail.Write(ctx, trail.Stranger, about, err)
			return err
		}
		if err = h(w, r, session); err != nil {
			about.Principal = session.Principal.String()
			s.cfg.Trail.Write(ctx, trail.Known, about, err)
		}
		return err
	})
}

// signedIn finds the session of the token in the Authorization header, and nowhere else.
func (s *Service) signedIn(ctx context.Context, r *http.Request, tenant string) (ledger.LoginSession, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return ledger.LoginSession{}, agentid.Errorf(agentid.KindUnauthenticated, httperr.ReasonCredentialMissing, "sign in first")
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return ledger.LoginSession{}, agentid.Errorf(agentid.KindUnauthenticated, "login_token_invalid", "want one Authorization: Bearer header")
	}
	session, err := s.cfg.Ledger.LoginByToken(ctx, agentid.NewSecret(token))
	if err == nil && session.Tenant != tenant {
		err = agentid.Errorf(agentid.KindUnauthenticated, "login_token_invalid", "the sign-in has ended, or the token is not one of ours")
	}
	return session, err
}

func answer(w http.ResponseWriter, status int, v any) error {
	_ = httpx.WriteJSON(w, status, v) // the peer is gone: what was done is done
	return nil
}

// read reads a JSON body strictly: no unknown member, none twice.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	if err := httpx.CheckContentType(r, "application/json"); err != nil {
		return err
	}
	data, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	tree, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxBody})
	members, ok := tree.Members()
	if err != nil || !ok {
		return agentid.Invalidf("", "want one strict JSON object").WithCause(err)
	}
	for _, m := range members {
		if m.Name != strings.ToLower(m.Name) { // Go's decoder ignores case
			return agentid.Invalidf(m.Name, "is not a known field")
		}
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		field, _ := strings.CutPrefix(err.Error(), `json: unknown field "`)
		if field != err.Error() {
			return agentid.Invalidf(strings.TrimSuffix(field, `"`), "is not a known field")
		}
		return agentid.Invalidf("", "cannot be read").WithCause(err)
	}
	return nil
}

// self says who is signed in.
func (s *Service) self(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error {
	p, err := s.cfg.Ledger.Principal(r.Context(), session.Principal)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, struct {
		Principal agentid.Ref `json:"principal"`
		Display   string      `json:"display,omitempty"`
		Provider  string      `json:"provider"`
		Client    string      `json:"client"`
		Created   time.Time   `json:"signed_in"`
		Expires   time.Time   `json:"expires"`
	}{p.Ref, p.Display, session.Provider, session.Client, session.Created, session.Expires})
}

// logout ends the session with all of its tokens.
func (s *Service) logout(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error {
	record := auditlog.Record{
		Kind: auditlog.Revoke, Phase: auditlog.Single, Request: httpx.RequestID(r.Context()), Tenant: session.Tenant,
		Principal: session.Principal.String(), Operation: "logout", Decision: auditlog.Allow, Notes: map[string]string{"session": session.ID},
	}
	if err := s.cfg.Ledger.RevokeSession(r.Context(), session.ID, record); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) list(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error {
	found, err := s.List(r.Context(), session.Principal, ledger.Page{After: r.URL.Query().Get("after"), Limit: ledger.MaxPage})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"items": found})
}

func (s *Service) grant(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error {
	var in Spec
	if err := read(w, r, &in); err != nil {
		return err
	}
	v, err := s.Grant(r.Context(), session.Principal, in)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, v)
}

func (s *Service) revoke(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error {
	v, err := s.Revoke(r.Context(), session.Principal, chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, v)
}

func (s *Service) launch(w http.ResponseWriter, r *http.Request, session ledger.LoginSession) error {
	var in Launch
	if err := read(w, r, &in); err != nil {
		return err
	}
	a, err := s.Start(r.Context(), session.Principal, s.cfg.Issuers.Of(session.Tenant), in)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, a)
}
