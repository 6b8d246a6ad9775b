package admin

import (
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
)

// page reads ?after and ?limit.
func page(r *http.Request) (ledger.Page, error) {
	p := ledger.Page{After: r.URL.Query().Get("after")}
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > ledger.MaxPage {
			return p, agentid.Invalidf("limit", "want 1 to %d", ledger.MaxPage)
		}
		p.Limit = n
	}
	return p, nil
}

func (s *Service) listTenants(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Ledger.Tenants(r.Context(), p)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return s.list(w, r, convert(found, func(t ledger.Tenant) object { return tenantOf(t) }))
}

func (s *Service) listObjects(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := page(r)
		if err != nil {
			return err
		}
		tenant := chi.URLParam(r, "tenant")
		if _, err := s.cfg.Ledger.Tenant(r.Context(), tenant); err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		found, err := s.read(r, kind, tenant, p)
		if err != nil {
			return err
		}
		return s.list(w, r, found)
	}
}

// read lists a tenant's objects of one kind.
func (s *Service) read(r *http.Request, kind, tenant string, p ledger.Page) ([]object, error) {
	ctx, l := r.Context(), s.cfg.Ledger
	switch kind {
	case KindPrincipal:
		found, err := l.Principals(ctx, tenant, p)
		return convert(found, func(v ledger.Principal) object { return principalOf(v) }), err
	case KindAgentType:
		found, err := l.AgentTypes(ctx, tenant, p)
		return convert(found, func(v ledger.AgentType) object { return agentTypeOf(v) }), err
	case KindConnector:
		found, err := l.ConnectorSettings(ctx, tenant, p)
		return convert(found, func(v ledger.Connector) object { return connectorOf(v) }), err
	case KindTemplate:
		found, err := l.Templates(ctx, tenant, p)
		if err != nil {
			return nil, err //nolint:wrapcheck // an agentid.Error
		}
		out := make([]object, 0, len(found))
		for _, v := range found {
			t, err := templateOf(v)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
		return out, nil
	case KindIdentityProvider:
		found, err := l.IdentityProviders(ctx, tenant, p)
		return convert(found, func(v ledger.IdentityProvider) object { return identityProviderOf(v) }), err
	case KindWorkloadIssuer:
		found, err := l.WorkloadIssuers(ctx, tenant, p)
		return convert(found, func(v ledger.WorkloadIssuer) object { return workloadIssuerOf(v) }), err
	case KindEnrolmentRule:
		return s.rules(ctx, tenant, p)
	case KindLoginClient:
		found, err := l.LoginClients(ctx, tenant, p)
		return convert(found, func(v ledger.LoginClient) object { return loginClientOf(v) }), err
	default:
		filter, err := agentFilter(r, tenant, p)
		if err != nil {
			return nil, err
		}
		found, err := s.cfg.Agents.List(ctx, filter)
		return convert(found, func(v agents.Agent) object { return agentFrom(v) }), err
	}
}

// agentFilter reads ?type, ?principal, ?parent and ?state (active or retired).
func agentFilter(r *http.Request, tenant string, p ledger.Page) (ledger.AgentFilter, error) {
	f := ledger.AgentFilter{Tenant: tenant, Page: p}
	q := r.URL.Query()
	var err error
	if name := q.Get("type"); name != "" {
		if f.Type, err = agentid.AgentTypeRef(tenant, name); err != nil {
			return f, agentid.AsError(err).WithField("type")
		}
	}
	if name := q.Get("principal"); name != "" {
		if f.Principal, err = agentid.PrincipalRef(tenant, name); err != nil {
			return f, agentid.AsError(err).WithField("principal")
		}
	}
	if name := q.Get("parent"); name != "" {
		if f.Parent, err = agentid.AgentRef(tenant, name); err != nil {
			return f, agentid.AsError(err).WithField("parent")
		}
	}
	switch q.Get("state") {
	case "":
	case "active":
		f.State = ledger.AgentActive
	case "retired":
		f.State = ledger.AgentRetired
	default:
		return f, agentid.Invalidf("state", "want active or retired")
	}
	return f, nil
}

func convert[T any](found []T, one func(T) object) []object {
	out := make([]object, 0, len(found))
	for _, v := range found {
		out = append(out, one(v))
	}
	return out
}

func (s *Service) list(w http.ResponseWriter, r *http.Request, found []object) error {
	for _, o := range found {
		id, err := o.name()
		if err != nil {
			return err
		}
		if o.head().Kind == KindAgent {
			continue
		}
		if err := s.fill(r.Context(), id, o); err != nil {
			return err
		}
	}
	return items(w, found)
}
