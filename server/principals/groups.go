package principals

import (
	"context"
	"slices"
	"strconv"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Change is what a reconciliation came to, as "type:tenant/name#relation".
type Change struct {
	Added   []string       `json:"added"`
	Removed []string       `json:"removed"`
	Source  string         `json:"source"`           // "provider", "given" or "refused": the provider knows the session no more
	Zookie  agentid.Zookie `json:"zookie,omitempty"` // from which on a removal holds
}

// Sync brings what a principal's groups give into place without a sign-in: with groups
// that the administrator gives, or, where given is nil, as the identity provider says now.
// A provider that refuses the person's refresh token vouches for no group any more: what
// groups gave is taken away until the next sign-in. A provider that is down changes
// nothing: KindUnavailable. KindNotFound: the principal, or nothing to ask with.
func (s *Service) Sync(ctx context.Context, ref agentid.Ref, given []string, administrator string) (Change, error) {
	p, err := s.cfg.Ledger.Principal(ctx, ref)
	if err != nil {
		return Change{}, err
	}
	if p.Issuer == "" {
		return Change{}, agentid.Errorf(agentid.KindConflict, "principal_local", "no identity provider knows this principal")
	}
	provider, err := s.cfg.Ledger.IdentityProviderByIssuer(ctx, ref.Tenant(), p.Issuer)
	if err != nil {
		return Change{}, err
	}
	defer s.lock(provider.Tenant + " " + provider.Issuer + " " + p.Subject)()
	groups, source := given, "given"
	if given == nil {
		if groups, source, err = s.ask(ctx, provider, p); err != nil {
			return Change{}, err
		}
	}
	change, err := s.reconcile(ctx, provider, p, groups, "sync by "+administrator)
	change.Source = source
	return change, err
}

// ask is the groups of a principal as its provider says now, by the refresh token of its
// latest sign-in.
func (s *Service) ask(ctx context.Context, provider ledger.IdentityProvider, p ledger.Principal) ([]string, string, error) {
	session, err := s.cfg.Ledger.UpstreamSession(ctx, p.Ref)
	if err != nil {
		return nil, "", err
	}
	at, err := s.cfg.Providers.Open(ctx, provider)
	if err != nil {
		return nil, "", err
	}
	fresh, _, err := at.Renew(ctx, session.Upstream, p.Subject)
	if agentid.ReasonOf(err) == oidc.ReasonRefresh && err != nil {
		return []string{}, "refused", s.cfg.Ledger.SetUpstream(ctx, session.ID, agentid.Secret{})
	}
	if err != nil {
		return nil, "", err
	}
	if !fresh.Refresh.IsZero() && fresh.Refresh.Reveal() != session.Upstream.Reveal() {
		if err := s.cfg.Ledger.SetUpstream(ctx, session.ID, fresh.Refresh); err != nil {
			return nil, "", err
		}
	}
	return fresh.Person.Groups, "provider", nil
}

// Forget takes away what a provider's groups gave to anybody: it is called before the
// provider is deleted.
func (s *Service) Forget(ctx context.Context, provider ledger.IdentityProvider) error {
	holders, err := s.cfg.Ledger.GroupHolders(ctx, provider.Tenant, provider.Name)
	if err != nil {
		return err
	}
	for _, ref := range holders {
		p, err := s.cfg.Ledger.Principal(ctx, ref)
		if err != nil {
			return err
		}
		unlock := s.lock(provider.Tenant + " " + provider.Issuer + " " + p.Subject)
		_, err = s.reconcile(ctx, ledger.IdentityProvider{Tenant: provider.Tenant, Name: provider.Name, Issuer: provider.Issuer}, p, nil, "provider deleted")
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// reconcile makes the group relationships of a principal those that groups give by the
// provider's rules. What is to be gone goes first, behind an intent, and is read back.
func (s *Service) reconcile(ctx context.Context, provider ledger.IdentityProvider, p ledger.Principal, groups []string, by string) (Change, error) {
	have, err := s.cfg.Ledger.GroupEdges(ctx, p.Ref, provider.Name)
	if err != nil {
		return Change{}, err
	}
	var want []ledger.GroupEdge
	for _, rule := range provider.Groups {
		edge := ledger.GroupEdge{Resource: rule.Resource, Relation: rule.Relation}
		if slices.Contains(groups, rule.Group) && !slices.Contains(want, edge) {
			want = append(want, edge)
		}
	}
	// The caller may go away; what was begun is ended.
	ctx = context.WithoutCancel(ctx)
	out := Change{Added: []string{}, Removed: []string{}}
	gone := slices.DeleteFunc(slices.Clone(have), func(e ledger.GroupEdge) bool { return slices.Contains(want, e) })
	if len(gone) > 0 {
		if out.Zookie, err = s.take(ctx, provider, p, gone, by); err != nil {
			return Change{}, err
		}
		out.Removed = names(gone)
	}
	added, err := s.give(ctx, provider, p, have, want, by)
	out.Added = names(added)
	return out, err
}

func names(edges []ledger.GroupEdge) []string {
	out := make([]string, 0, len(edges))
	for _, e := range edges {
		out = append(out, e.Resource.String()+"#"+e.Relation)
	}
	slices.Sort(out)
	return out
}

// take takes relationships away: intent, edges read back, floor, and only then forgets
// them. What an administrator declared as well stays.
func (s *Service) take(ctx context.Context, provider ledger.IdentityProvider, p ledger.Principal, gone []ledger.GroupEdge, by string) (agentid.Zookie, error) {
	record := s.groupRecord(ctx, p.Ref, "principal.groups.remove", gone, by)
	record.Kind = auditlog.Revoke
	var unwanted []relate.Edge
	for _, e := range gone {
		declared, err := s.declared(ctx, e, p.Ref)
		if err != nil {
			return "", err
		}
		if !declared {
			unwanted = append(unwanted, edgeOf(e, p.Ref))
		}
	}
	if len(unwanted) == 0 {
		return "", s.cfg.Ledger.RemoveGroupEdges(ctx, p.Ref, provider.Name, gone, record)
	}
	receipt, err := s.cfg.Revoker.Take(ctx, revocation.Taking{
		Intent: ledger.Revocation{Target: p.Ref, Reason: "groups", Actor: "groups of " + provider.Name},
		Edges:  func(context.Context) (relations.Set, error) { return relations.Set{Unwanted: unwanted}, nil },
	})
	if err != nil {
		return "", err
	}
	return receipt.Zookie, s.cfg.Ledger.RemoveGroupEdges(ctx, p.Ref, provider.Name, gone, record)
}

// give makes the relationships that are not there. One that is there already, and that no
// group gave, is somebody else's: it is not recorded, and so never taken away by a group.
func (s *Service) give(ctx context.Context, provider ledger.IdentityProvider, p ledger.Principal, have, want []ledger.GroupEdge, by string) ([]ledger.GroupEdge, error) {
	var added []ledger.GroupEdge
	var wanted []relate.Edge
	for _, e := range want {
		edge := edgeOf(e, p.Ref)
		missing, err := s.graph.Pending(ctx, relations.Set{Wanted: []relate.Edge{edge}})
		if err != nil {
			return nil, err
		}
		if len(missing) == 0 {
			continue
		}
		wanted = append(wanted, edge)
		if !slices.Contains(have, e) {
			added = append(added, e)
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	if err := s.cfg.Ledger.AddGroupEdges(ctx, p.Ref, provider.Name, added, s.groupRecord(ctx, p.Ref, "principal.groups.add", added, by)); err != nil {
		return nil, err
	}
	updates, err := relations.All(relations.Set{Wanted: wanted})
	if err != nil {
		return nil, err
	}
	for batch := range slices.Chunk(updates, relations.MaxUpdates) {
		if _, err := s.graph.Write(ctx, batch); err != nil {
			return nil, err
		}
	}
	return added, nil
}

func edgeOf(e ledger.GroupEdge, principal agentid.Ref) relate.Edge {
	return relate.Edge{Resource: e.Resource, Relation: e.Relation, Subject: relate.To(principal)}
}

// declared reports whether the setting of an agent type names the principal as a launcher.
func (s *Service) declared(ctx context.Context, e ledger.GroupEdge, principal agentid.Ref) (bool, error) {
	if e.Resource.Type() != agentid.TypeAgentType {
		return false, nil
	}
	typ, err := s.cfg.Ledger.AgentType(ctx, e.Resource)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return false, nil
	}
	return slices.Contains(typ.Launchers, principal), err
}

func (s *Service) groupRecord(ctx context.Context, ref agentid.Ref, operation string, edges []ledger.GroupEdge, by string) auditlog.Record {
	record := s.record(ctx, operation, ref)
	record.Notes["by"], record.Notes["relationships"] = by, strconv.Itoa(len(edges))
	for i, name := range names(edges) {
		if i == 8 {
			break
		}
		record.Notes["relationship_"+strconv.Itoa(i)] = name
	}
	return record
}
