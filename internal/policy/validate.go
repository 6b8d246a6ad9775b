package policy

import (
	"strconv"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/schema"
)

// validate refuses a malformed question with KindInvalid and the field at fault; a
// lineage beyond MaxDepth with KindForbidden and its own reason.
func (q *Question) validate() error {
	switch q.Stage {
	case StageIssue, StageEnforce, StageLive:
	default:
		return agentid.Invalidf("stage", "is not set")
	}
	if err := q.validateSubject(); err != nil {
		return err
	}
	if len(q.Tokens) == 0 && q.Stage != StageIssue {
		return agentid.Invalidf("tokens", "must not be empty")
	}
	if q.Stage == StageLive {
		return q.validateNoOperation()
	}
	return q.validateOperation(q.Principal.Tenant())
}

// validateSubject holds who asks, and the tokens, to one tenant.
func (q *Question) validateSubject() error {
	if len(q.Lineage) == 0 {
		return agentid.Invalidf("lineage", "must not be empty")
	}
	if len(q.Lineage) > MaxDepth+1 {
		return agentid.Errorf(agentid.KindForbidden, ReasonLineageTooDeep, "the lineage is deeper than %d", MaxDepth).WithField("lineage")
	}
	tenant := q.Lineage[0].Agent.Tenant()
	agents := make([]agentid.Ref, len(q.Lineage))
	for i, m := range q.Lineage {
		agents[i] = m.Agent
	}
	if err := refs("lineage", tenant, schema.TypeAgent, agents); err != nil {
		return err
	}
	if err := ref("principal", tenant, schema.TypePrincipal, q.Principal); err != nil {
		return err
	}
	if len(q.Tokens) > MaxTokens {
		return agentid.Invalidf("tokens", "holds more than %d", MaxTokens)
	}
	return refs("tokens", tenant, schema.TypeToken, q.Tokens)
}

func (q *Question) validateOperation(tenant string) error {
	switch {
	case q.Operation == "":
		return agentid.Invalidf("operation", "must not be empty")
	case q.Stage == StageIssue && len(q.Inputs) > 0:
		return agentid.Invalidf("inputs", "are not known at issuance")
	case !isName(q.Permission):
		return agentid.Invalidf("permission", "is not the name of a permission")
	case q.Barred != "" && !isName(q.Barred):
		return agentid.Invalidf("barred", "is not the name of a permission")
	case q.Barred == q.Permission:
		return agentid.Invalidf("barred", "is the permission itself")
	case len(q.Resources) == 0:
		return agentid.Invalidf("resources", "must not be empty")
	case len(q.Resources) > MaxResources:
		return agentid.Invalidf("resources", "holds more than %d", MaxResources)
	}
	if err := refs("resources", tenant, "", q.Resources); err != nil {
		return err
	}
	return ref("account", tenant, "", q.Account)
}

func (q *Question) validateNoOperation() error {
	switch {
	case q.Operation != "":
		return agentid.Invalidf("operation", "has no place in a question of liveness")
	case q.Permission != "" || q.Barred != "":
		return agentid.Invalidf("permission", "has no place in a question of liveness")
	case len(q.Resources) > 0 || !q.Account.IsZero():
		return agentid.Invalidf("resources", "has no place in a question of liveness")
	case len(q.Inputs) > 0:
		return agentid.Invalidf("inputs", "has no place in a question of liveness")
	}
	return nil
}

// refs holds a list to one tenant, one type, and no repetition: an agent that is its own
// ancestor is a cycle.
func refs(field, tenant, typ string, list []agentid.Ref) error {
	for i, r := range list {
		name := field + "[" + strconv.Itoa(i) + "]"
		if err := ref(name, tenant, typ, r); err != nil {
			return err
		}
		for _, earlier := range list[:i] {
			if earlier == r {
				return agentid.Invalidf(name, "is named twice")
			}
		}
	}
	return nil
}

// ref holds one id to a tenant and a type; the empty type is any resource's, which the
// base schema's own types are not.
func ref(field, tenant, typ string, r agentid.Ref) error {
	switch {
	case r.IsZero():
		return agentid.Invalidf(field, "must not be empty")
	case r.Tenant() != tenant:
		return agentid.Invalidf(field, "is of another tenant")
	case typ != "" && r.Type() != typ:
		return agentid.Invalidf(field, "is not of type %s", typ)
	case typ == "" && isBase(r.Type()):
		return agentid.Invalidf(field, "is not a connector's resource")
	}
	return nil
}

func isBase(typ string) bool {
	switch typ {
	case schema.TypeTenant, schema.TypePrincipal, schema.TypeAgentType, schema.TypeAgent, schema.TypeToken, agentid.TypeConnector:
		return true
	}
	return false
}
