package admin

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
)

const (
	maxBody  = 64 << 10
	maxApply = 8 << 20
)

// handler is a handler that returns its refusal.
type handler func(w http.ResponseWriter, r *http.Request) error

// OpenAPI describes the routes, with their full paths.
//
//go:embed openapi.yaml
var OpenAPI []byte

// Routes registers the API on a router that stands at /admin/v1.
func (s *Service) Routes(r chi.Router) {
	r.Use(s.authenticate)
	r.NotFound(s.handle(func(http.ResponseWriter, *http.Request) error {
		return agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is no such path")
	}))
	r.MethodNotAllowed(s.handle(func(http.ResponseWriter, *http.Request) error {
		return agentid.Errorf(agentid.KindInvalid, httperr.ReasonMethodNotAllowed, "the path does not take this method")
	}))
	r.Post("/apply", s.handle(s.postApply))
	r.Get("/tenants", s.handle(s.listTenants))
	s.tenantRoutes(r)
	r.Get("/keys", s.handle(s.listKeys))
	r.Post("/keys", s.handle(s.stageKey))
	r.Post("/keys/{kid}/activate", s.handle(s.activateKey))
	r.Post("/keys/{kid}/retire", s.handle(s.retireKey))
	r.Get("/audit", s.handle(s.queryAudit))
	r.Get("/audit/tail", s.handle(s.tailAudit))
	r.Get("/schema", s.handle(s.getSchema))
	r.Post("/schema", s.handle(s.applySchema))
	r.Post("/restored", s.handle(s.postRestored))
	r.Get("/admins", s.handle(s.listAdmins))
	r.Post("/admins", s.handle(s.addAdmin))
	r.Post("/admins/rotate", s.handle(s.rotateAdmin))
	r.Delete("/admins/{id}", s.handle(s.deleteAdmin))
}

func (s *Service) tenantRoutes(r chi.Router) {
	const tenant = "/tenants/{tenant}"
	r.Get(tenant, s.handle(s.getObject(KindTenant)))
	r.Put(tenant, s.handle(s.putObject(KindTenant)))
	r.Delete(tenant, s.handle(s.deleteObject(KindTenant)))
	r.Post(tenant+"/freeze", s.handle(s.postFreeze(KindTenant)))
	r.Post(tenant+"/unfreeze", s.handle(s.postUnfreeze(KindTenant)))
	for path, kind := range map[string]string{
		"/principals": KindPrincipal, "/agent-types": KindAgentType, "/connectors": KindConnector,
		"/templates": KindTemplate, "/agents": KindAgent,
		"/identity-providers": KindIdentityProvider, "/login-clients": KindLoginClient,
		"/workload-issuers": KindWorkloadIssuer, "/enrolment-rules": KindEnrolmentRule,
	} {
		r.Get(tenant+path, s.handle(s.listObjects(kind)))
		r.Get(tenant+path+"/{name}", s.handle(s.getObject(kind)))
		r.Put(tenant+path+"/{name}", s.handle(s.putObject(kind)))
		if kind != KindAgent {
			r.Delete(tenant+path+"/{name}", s.handle(s.deleteObject(kind)))
		}
		if !ledgerOnly(kind) {
			r.Post(tenant+path+"/{name}/freeze", s.handle(s.postFreeze(kind)))
			r.Post(tenant+path+"/{name}/unfreeze", s.handle(s.postUnfreeze(kind)))
		}
	}
	r.Post(tenant+"/agents/{name}/retire", s.handle(s.postRetire))
	r.Post(tenant+"/agents/{name}/respawn", s.handle(s.postRespawn))
	r.Put(tenant+"/agents/{name}/ceiling", s.handle(s.putCeiling))
	r.Get(tenant+"/agents/{name}/lineage", s.handle(s.getLineage))
	r.Get(tenant+"/agents/{name}/tree", s.handle(s.getTree(KindAgent)))
	r.Post(tenant+"/principals/{name}/sync", s.handle(s.postSync))
	r.Get(tenant+"/principals/{name}/tree", s.handle(s.getTree(KindPrincipal)))
	r.Put(tenant+"/connectors/{name}/credential", s.handle(s.putCredential))
	r.Delete(tenant+"/connectors/{name}/credential", s.handle(s.deleteCredential))
	r.Get(tenant+"/connectors/{name}/secrets", s.handle(s.listSecrets))
	r.Post(tenant+"/connectors/{name}/secrets", s.handle(s.addSecret))
	r.Delete(tenant+"/connectors/{name}/secrets/{id}", s.handle(s.deleteSecret))
	r.Post(tenant+"/federation/test", s.handle(s.testFederation))
	r.Get(tenant+"/grants", s.handle(s.listGrants))
	r.Post(tenant+"/grants", s.handle(s.postGrant))
	r.Delete(tenant+"/grants", s.handle(s.deleteGrant))
	r.Get(tenant+"/revocations", s.handle(s.listRevocations))
	r.Post(tenant+"/revocations", s.handle(s.postRevoke))
	r.Post(tenant+"/agents/unfreeze", s.handle(s.postUnfreezeSelected))
	r.Get(tenant+"/tokens", s.handle(s.listTokens))
	r.Delete(tenant+"/tokens/{jti}", s.handle(s.revokeToken))
}

// authenticate admits an administrator's Bearer credential, and nothing else.
func (s *Service) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.administrator(r)
		if err != nil {
			s.cfg.Refusals.Refused(r.Context(), false, auditlog.Record{Kind: auditlog.Authn, Operation: "admin"}, err)
			httperr.Log(s.cfg.Logger, r, err)
			w.Header().Set("WWW-Authenticate", `Bearer realm="agentid admin"`)
			httperr.Problem(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), administratorKey{}, id)))
	})
}

func (s *Service) administrator(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return "", agentid.Errorf(agentid.KindUnauthenticated, httperr.ReasonCredentialMissing, "an administrator's credential is needed")
	}
	scheme, credential, ok := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !ok || !strings.EqualFold(scheme, "bearer") {
		return "", agentid.Errorf(agentid.KindUnauthenticated, "admin_credential_invalid", "want one Authorization: Bearer header")
	}
	info, err := s.cfg.Ledger.AuthenticateAdmin(r.Context(), agentid.NewSecret(credential))
	if err != nil {
		return "", err //nolint:wrapcheck // an agentid.Error
	}
	return info.ID, nil
}

// handle renders a handler's refusal, and writes that of a change to the audit log.
func (s *Service) handle(h handler) http.HandlerFunc {
	return httperr.Handler(s.cfg.Logger, renderError, func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r)
		if err != nil && r.Method != http.MethodGet {
			s.cfg.Refusals.Refused(r.Context(), true, auditlog.Record{
				Kind: auditlog.Admin, Tenant: chi.URLParam(r, "tenant"), Operation: "admin." + strings.ToLower(r.Method),
				Resource: r.URL.Path, Notes: map[string]string{"administrator": administrator(r.Context())},
			}, err)
		}
		return err
	})
}

// renderError is httperr.Problem, with all the faults of a refused set.
func renderError(w http.ResponseWriter, r *http.Request, err error) {
	faults, ok := errors.AsType[*FaultsError](err)
	if !ok {
		httperr.Problem(w, r, err)
		return
	}
	a := httperr.Of(err)
	body, merr := json.Marshal(map[string]any{
		"title": a.Title, "status": a.Status, "detail": a.Detail, "reason": a.Reason, "field": a.Field,
		"request_id": httpx.RequestID(r.Context()), "faults": faults.Faults,
	})
	if merr != nil {
		httperr.Problem(w, r, merr)
		return
	}
	httperr.Write(w, a, a.Status, "application/problem+json", body)
}

// body reads a JSON body strictly into v.
func body(w http.ResponseWriter, r *http.Request, v any) error {
	if err := httpx.CheckContentType(r, "application/json"); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	data, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return decode(data, v)
}

func answer(w http.ResponseWriter, status int, v any) error {
	return httpx.WriteJSON(w, status, v) //nolint:wrapcheck // the peer is gone
}

// items answers a list.
func items[T any](w http.ResponseWriter, list []T) error {
	if list == nil {
		list = []T{}
	}
	return answer(w, http.StatusOK, map[string]any{"items": list})
}

func (s *Service) postApply(w http.ResponseWriter, r *http.Request) error {
	dry := false
	switch v := r.URL.Query().Get("dry_run"); v {
	case "", "false":
	case "true":
		dry = true
	default:
		return agentid.Invalidf("dry_run", "want true or false")
	}
	if err := httpx.CheckContentType(r, "application/json"); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	data, err := httpx.ReadBody(w, r, maxApply)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	var set struct {
		Documents []Document `json:"documents"`
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&set); err != nil {
		return decodeError(err)
	}
	plan, err := s.Apply(r.Context(), set.Documents, dry)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, plan)
}
