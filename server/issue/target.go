package issue

import (
	"context"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/wire"
)

// target is the one connector that a token is for.
type target struct {
	connector wire.Connector
	kind      *connectors.Kind
	account   agentid.Ref
}

// wanted is what a request comes to once its templates are expanded.
type wanted struct {
	capabilities []capability.Capability
	connector    string // the one that the templates are for; "": no template was called
}

// expand turns template calls into capabilities, after those that were written out.
func (m *Mint) expand(ctx context.Context, req Request) (wanted, error) {
	w := wanted{capabilities: slices.Clone(req.Details.Capabilities)}
	for _, call := range req.Details.Templates {
		t, err := m.template(ctx, req.Agent.Ref.Tenant(), req.Agent.Templates, call.Template)
		if kind := agentid.KindOf(err); err != nil && (kind == agentid.KindInvalid || kind == agentid.KindForbidden) {
			return wanted{}, badDetails(err)
		}
		if err != nil {
			return wanted{}, err
		}
		if w.connector != "" && w.connector != t.Connector {
			return wanted{}, badTarget("the templates are for more than one connector: ask for one token each")
		}
		w.connector = t.Connector
		c, err := t.Expand(req.Agent.Ref.Tenant(), call.Arguments)
		if err != nil {
			return wanted{}, badDetails(err)
		}
		w.capabilities = append(w.capabilities, c)
	}
	switch {
	case len(w.capabilities) == 0:
		return wanted{}, badDetails(agentid.Invalidf("authorization_details", "at least one capability is required"))
	case len(w.capabilities) > MaxCapabilities:
		return wanted{}, badDetails(agentid.Invalidf("authorization_details", "more than %d capabilities", MaxCapabilities))
	}
	return w, nil
}

// target chooses the one connector: the tenant's connector at req.Resource, or the only
// one of the kind that the operations name. Capabilities for two kinds are invalid_target:
// a token has one audience (RFC 8707 section 2.2, audiences kept apart).
func (m *Mint) target(ctx context.Context, req Request, w wanted) (target, error) {
	kindName, err := oneKind(w.capabilities)
	if err != nil {
		return target{}, err
	}
	kind, ok := m.cfg.Kinds[kindName]
	if !ok {
		return target{}, badDetails(agentid.Errorf(agentid.KindInvalid, "operation_unknown", "no connector has such operations").WithField("actions"))
	}
	all, err := m.cfg.Fleet.Connectors(ctx)
	if err != nil {
		return target{}, err
	}
	var fits []wire.Connector
	for _, c := range all {
		if c.Ref.Tenant() == req.Agent.Ref.Tenant() && c.Kind == kindName &&
			(req.Resource == "" || c.Resource == req.Resource) && (w.connector == "" || c.Ref.Name() == w.connector) {
			fits = append(fits, c)
		}
	}
	switch {
	case len(fits) == 0:
		return target{}, badTarget("no connector of this tenant has these operations at this resource")
	case len(fits) > 1:
		return target{}, badTarget("several connectors have these operations: name one by its resource URI")
	}
	account, err := kind.AccountRef(fits[0].Ref.Tenant(), fits[0].Ref.Name())
	if err != nil {
		return target{}, err
	}
	return target{connector: fits[0], kind: kind, account: account}, nil
}

// oneKind is the connector kind that every operation names before its colon.
func oneKind(asked []capability.Capability) (string, error) {
	name := ""
	for _, c := range asked {
		for _, op := range c.Operations {
			kind, _, _ := strings.Cut(op, ":")
			if name != "" && kind != name {
				return "", badTarget("the capabilities are for more than one kind of connector: ask for one token each")
			}
			name = kind
		}
	}
	if name == "" {
		return "", badDetails(agentid.Invalidf("actions", "at least one operation is required"))
	}
	return name, nil
}

// narrow checks what was asked against the manifest and against the Subject, then cuts it
// down to the scope and to the ceilings of the lineage.
func (t target) narrow(req Request, asked []capability.Capability) ([]capability.Capability, error) {
	for _, c := range asked {
		if err := t.check(c); err != nil {
			return nil, badDetails(err)
		}
	}
	if _, err := t.delegate(req, asked); err != nil {
		return nil, err
	}
	asked, err := scoped(asked, req.Scope)
	if err != nil {
		return nil, err
	}
	if asked, err = t.withinAssertion(req, asked); err != nil {
		return nil, err
	}
	for i, member := range req.Agent.Lineage {
		if i > 0 && !member.Attenuated {
			continue
		}
		var below []capability.Capability
		for _, c := range asked {
			narrowed, err := t.below(member, c)
			if err != nil {
				return nil, err
			}
			below = append(below, narrowed...)
		}
		asked = below
	}
	decisions := 0
	for _, c := range asked {
		decisions += len(c.Operations)
	}
	if decisions > MaxDecisions {
		return nil, badDetails(agentid.Invalidf("actions", "more than %d operations in one token", MaxDecisions))
	}
	return asked, nil
}

// check holds one capability against the connector's manifest: operations, the type of
// the resource, declared inputs and facts.
func (t target) check(c capability.Capability) error {
	if c.Resource.Tenant() != t.connector.Ref.Tenant() {
		return agentid.Errorf(agentid.KindInvalid, "tenant_mismatch", "the resource is not of the agent's tenant").WithField("identifier")
	}
	for _, name := range c.Operations {
		op, ok := t.kind.Operation(name)
		if !ok {
			return agentid.Errorf(agentid.KindInvalid, "operation_unknown", "the connector has no such operation").WithField("actions")
		}
		if err := op.CheckConstraints(c.Constraints); err != nil {
			return err
		}
		if typ := c.Resource.Type(); typ != op.ResourceType && typ != t.kind.AccountType {
			return agentid.Errorf(agentid.KindInvalid, "resource_type", "%s works on %s", name, op.ResourceType).WithField("identifier")
		}
	}
	if _, err := t.resources(c.Resource); err != nil {
		return err
	}
	return nil
}

func (t target) resources(resource agentid.Ref) ([]agentid.Ref, error) {
	return t.kind.Resources(t.connector.Ref.Tenant(), t.connector.Ref.Name(), resource)
}

// scoped keeps the operations that the scope names. An operation in the scope that no
// capability has is invalid_scope: scope grants nothing of its own.
func scoped(asked []capability.Capability, scope []string) ([]capability.Capability, error) {
	if len(scope) == 0 {
		return asked, nil
	}
	found := make(map[string]bool, len(scope))
	kept := make([]capability.Capability, 0, len(asked))
	for _, c := range asked {
		var operations []string
		for _, op := range c.Operations {
			if slices.Contains(scope, op) {
				operations = append(operations, op)
				found[op] = true
			}
		}
		if c.Operations = operations; len(operations) > 0 {
			kept = append(kept, c)
		}
	}
	for _, op := range scope {
		if !found[op] {
			return nil, httperr.WithCode(agentid.Errorf(agentid.KindInvalid, "scope_not_granted",
				"an operation in the scope is in no capability of authorization_details").WithField("scope"), httperr.InvalidScope)
		}
	}
	return kept, nil
}

// below meets a capability with the ceiling of one agent of the lineage. An entry covers
// its own resource and what lies below it. For each operation the entry that needs no
// narrowing is taken, else the first that leaves something; entries are never added up.
// Operations below different entries come back as capabilities of their own, which is
// refused where a count of uses would be doubled by it.
func (t target) below(member Member, c capability.Capability) ([]capability.Capability, error) {
	if member.Ceiling == nil {
		return []capability.Capability{c}, nil
	}
	resources, err := t.resources(c.Resource)
	if err != nil {
		return nil, err
	}
	var out []capability.Capability
	entries := map[int]int{} // ceiling entry → place in out
	for _, op := range c.Operations {
		entry, constraints, err := best(member.Ceiling, resources, op, c.Constraints)
		if err != nil {
			return nil, err
		}
		place, ok := entries[entry]
		if !ok {
			place = len(out)
			entries[entry] = place
			out = append(out, capability.Capability{Resource: c.Resource, Constraints: constraints})
		}
		out[place].Operations = append(out[place].Operations, op)
	}
	if _, counted := c.Constraints.Uses(); counted && len(out) > 1 {
		return nil, exceeded("uses", "the ceilings of these operations differ: ask for a counted capability each")
	}
	return out, nil
}

// best finds the ceiling entry for one operation, and what it leaves of the constraints.
func best(ceiling []capability.Capability, resources []agentid.Ref, op string, asked capability.Constraints) (int, capability.Constraints, error) {
	refusal := exceeded("authorization_details", "the agent's ceiling does not reach this resource and operation")
	entry, narrowed := -1, capability.Constraints{}
	for i, bound := range ceiling {
		if !slices.Contains(resources, bound.Resource) || !slices.Contains(bound.Operations, op) {
			continue
		}
		if asked.Within(bound.Constraints) == nil {
			return i, asked, nil
		}
		met, err := asked.Meet(bound.Constraints)
		switch {
		case err != nil:
			refusal = exceeded(agentid.AsError(err).Field, "nothing is left below the agent's ceiling").WithCause(err)
		case entry < 0:
			entry, narrowed = i, met
		}
	}
	if entry < 0 {
		return 0, capability.Constraints{}, refusal
	}
	return entry, narrowed, nil
}

func exceeded(field, message string) *agentid.Error {
	return agentid.Errorf(agentid.KindForbidden, "ceiling_exceeded", "%s", message).WithField(field)
}

func badDetails(err error) error { return httperr.WithCode(err, httperr.InvalidAuthorizationDetails) }

func badTarget(message string) error {
	return agentid.Errorf(agentid.KindInvalid, httperr.InvalidTarget, "%s", message).WithField("resource")
}
