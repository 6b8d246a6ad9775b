package admin

import (
	"net/http"
	"slices"
	"strings"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
)

// maxGrants bounds one listing of grants.
const maxGrants = 1000

// listGrants lists a tenant's policy relationships, of one ?resource or of all that
// belong to its connectors.
func (s *Service) listGrants(w http.ResponseWriter, r *http.Request) error {
	tenant := chi.URLParam(r, "tenant")
	if _, err := s.cfg.Ledger.Tenant(r.Context(), tenant); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	filters := map[string]*v1.RelationshipFilter{}
	for _, kind := range s.cfg.Kinds {
		for _, typ := range kind.ResourceTypes() {
			filters[typ] = &v1.RelationshipFilter{ResourceType: typ, OptionalResourceIdPrefix: tenant + "/"}
		}
	}
	if text := r.URL.Query().Get("resource"); text != "" {
		resource, err := agentid.ParseRef(text)
		if err != nil || resource.Tenant() != tenant || filters[resource.Type()] == nil {
			return agentid.Invalidf("resource", "is not a resource of this tenant's connectors")
		}
		filters = map[string]*v1.RelationshipFilter{"": {ResourceType: resource.Type(), OptionalResourceId: resource.ObjectID()}}
	}
	var out []*Grant
	for _, filter := range filters {
		found, err := s.readEdges(r.Context(), filter, maxGrants)
		if err != nil {
			return err
		}
		for _, edge := range found {
			if !slices.Contains(fixed, edge.GetRelation()) {
				out = append(out, grantOf(edge))
			}
		}
	}
	slices.SortFunc(out, func(a, b *Grant) int {
		return strings.Compare(a.Resource+"#"+a.Relation+"@"+a.Subject, b.Resource+"#"+b.Relation+"@"+b.Subject)
	})
	return items(w, out)
}

func (s *Service) postGrant(w http.ResponseWriter, r *http.Request) error {
	g := &Grant{}
	if err := body(w, r, g); err != nil {
		return err
	}
	if g.Kind != "" && g.Kind != KindGrant {
		return agentid.Invalidf("kind", "want grant")
	}
	tenant := chi.URLParam(r, "tenant")
	if id, err := g.name(); err != nil || id.Tenant() != tenant {
		return agentid.Invalidf("resource", "want a resource of this tenant")
	}
	g.Kind = KindGrant
	return s.applyOne(w, r, g)
}

// deleteGrant takes a grant away, named by ?resource, ?relation and ?subject. It is
// gone for every request that starts after the answer.
func (s *Service) deleteGrant(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	g := &Grant{Header: Header{Kind: KindGrant}, Resource: q.Get("resource"), Relation: q.Get("relation"), Subject: q.Get("subject")}
	id, err := g.name()
	if err != nil || id.Tenant() != chi.URLParam(r, "tenant") {
		return agentid.Invalidf("resource", "want a resource of this tenant")
	}
	if slices.Contains(fixed, g.Relation) || !newWorld(s).connectorType(id.Type()) {
		return agentid.Invalidf("relation", "is not a grant")
	}
	edge, err := g.edge()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone, err := s.pending(r.Context(), edges{unwanted: []relate.Edge{edge}})
	if err != nil {
		return err
	}
	if len(gone) == 0 {
		return agentid.Errorf(agentid.KindNotFound, "grant_unknown", "there is no such grant")
	}
	if err := s.audit(r.Context(), s.removed(r.Context(), KindGrant, id, label(g, id))); err != nil {
		return err
	}
	if _, err := s.writeEdges(r.Context(), gone); err != nil {
		return err
	}
	if err := s.flush(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
