package clientauth

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/ledger"
)

// rememberedAgents bounds the agents that are kept in memory.
const rememberedAgents = 16384

// known reads agents, and remembers them while nothing is written that they are read from:
// a rotated key, a ceiling, a retirement or a deletion is seen by the next request. What
// ends by time, an agent's expiry, is held against the clock at each use by the mint.
type known struct {
	directory  Directory
	identities *recall.Values[agentid.Ref, *identity]
	described  *recall.Values[agentid.Ref, issue.Agent]
}

// identity is an agent with its ancestors and its key. It is shared and never changed.
type identity struct {
	line []ledger.Agent
	key  jose.JSONWebKey
}

func newKnown(d Directory) (*known, error) {
	identities, err := recall.New[agentid.Ref, *identity](rememberedAgents, d.ClientChanges())
	if err != nil {
		return nil, err
	}
	described, err := recall.New[agentid.Ref, issue.Agent](rememberedAgents, d.ClientChanges())
	return &known{directory: d, identities: identities, described: described}, err
}

// now is the count that one request asks at.
func (k *known) now() uint64 { return k.identities.Now() }

// identify reads an agent with its ancestors: KindNotFound agent_unknown.
func (k *known) identify(ctx context.Context, at uint64, ref agentid.Ref) (*identity, error) {
	return k.identities.Get(ctx, at, ref, func(ctx context.Context) (*identity, error) {
		line, err := k.directory.Lineage(ctx, ref)
		if err != nil {
			return nil, err
		}
		key, err := jws.ParseKey(line[0].PublicKey)
		return &identity{line: line, key: key}, err
	})
}

// describe is the agent as the mint sees it: of the very rows that it was identified by.
func (k *known) describe(ctx context.Context, at uint64, who *identity) (issue.Agent, error) {
	return k.described.Get(ctx, at, who.line[0].Ref, func(ctx context.Context) (issue.Agent, error) {
		agent, err := k.gather(ctx, who.line)
		agent.BasisAt = at
		return agent, err
	})
}

// gather collects what the mint needs of an agent. Every ancestor up to the first
// independent link bounds it: its rights are asked for too, and its ceiling is met.
func (k *known) gather(ctx context.Context, line []ledger.Agent) (issue.Agent, error) {
	leaf := line[0]
	principal, err := k.directory.Principal(ctx, leaf.Principal)
	if err != nil {
		return issue.Agent{}, incomplete(err)
	}
	out := issue.Agent{
		Ref: leaf.Ref, Type: leaf.Type, Principal: leaf.Principal,
		Autonomous: principal.Kind == ledger.PrincipalService, Expires: leaf.Expires,
	}
	bounds := true // every link between the leaf and this member is attenuated
	for i, member := range line {
		typ, err := k.directory.AgentType(ctx, member.Type)
		if err != nil {
			return issue.Agent{}, incomplete(err)
		}
		ceiling, err := ceilingOf(member, typ)
		if err != nil {
			return issue.Agent{}, err
		}
		out.Lineage = append(out.Lineage, issue.Member{Agent: member.Ref, Attenuated: i > 0 && bounds, Ceiling: ceiling})
		out.Basis = append(out.Basis, ledger.Basis{Ref: member.Ref, Version: member.Version}, ledger.Basis{Ref: typ.Ref, Version: typ.Version})
		if i == 0 {
			out.OwnAuthority, out.Templates = typ.OwnAuthority, typ.Templates
		} else if bounds { // what needs its principal's permission bounds by that, too
			out.OwnAuthority = out.OwnAuthority && typ.OwnAuthority
		}
		if !member.Expires.IsZero() && (out.Expires.IsZero() || member.Expires.Before(out.Expires)) {
			out.Expires = member.Expires
		}
		bounds = bounds && member.Kind == ledger.Attenuated
	}
	return out, nil
}

// ceilingOf is the agent's own ceiling, else its type's. A ceiling that does not decode
// refuses: it is not taken for none.
func ceilingOf(agent ledger.Agent, typ ledger.AgentType) ([]capability.Capability, error) {
	raw := agent.Ceiling
	if len(raw) == 0 {
		raw = typ.Ceiling
	}
	if len(raw) == 0 {
		return nil, nil
	}
	ceiling := []capability.Capability{}
	if err := json.Unmarshal(raw, &ceiling); err != nil || ceiling == nil {
		return nil, agentid.Errorf(agentid.KindInternal, "internal", "internal error").
			WithCause(fmt.Errorf("the ceiling of %s does not decode: %w", agent.Ref, err))
	}
	return ceiling, nil
}

// incomplete makes a missing part of an agent that is known our own failure.
func incomplete(err error) error {
	if agentid.KindOf(err) == agentid.KindUnavailable {
		return err
	}
	return agentid.Errorf(agentid.KindInternal, "internal", "internal error").WithCause(err)
}
