package agents

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/ledger"
)

// MaxTree is how many agents one tree shows.
const MaxTree = 10_000

// Tree is who acts for whom below a principal or an agent. Agents are in the order of
// drawing: each is followed by its children.
type Tree struct {
	Root      agentid.Ref `json:"root"`
	Agents    []Node      `json:"agents"`
	Truncated bool        `json:"truncated,omitempty"` // there are more
}

// Node is one agent of a tree.
type Node struct {
	Ref       agentid.Ref `json:"agent"`
	Type      agentid.Ref `json:"type"`
	Principal agentid.Ref `json:"principal"`
	Parent    agentid.Ref `json:"parent,omitzero"`
	ChildKind string      `json:"child_kind,omitempty"`
	Depth     int         `json:"depth"` // ancestors above it, in its whole lineage
	State     string      `json:"state"`
	FrozenFor []string    `json:"frozen_for,omitempty"`
	// Live: it, its ancestors, principal, type and tenant are all in use. What is not live
	// is refused everything, in whatever state it is itself.
	Live       bool      `json:"live"`
	LiveTokens int       `json:"live_tokens"` // neither expired nor revoked one by one
	Expires    time.Time `json:"expires,omitzero"`
}

// Tree reads the tree of a principal, or of an agent with its descendants. Ended agents
// are in it only with all set.
func (s *Service) Tree(ctx context.Context, of agentid.Ref, all bool) (Tree, error) {
	rows, principal, err := s.treeRows(ctx, of)
	if err != nil {
		return Tree{}, err
	}
	out := Tree{Root: of, Agents: []Node{}}
	if len(rows) > MaxTree {
		rows, out.Truncated = rows[:MaxTree], true
	}
	frozen, err := s.cfg.Ledger.FreezesOf(ctx, of.Tenant())
	if err != nil {
		return Tree{}, err
	}
	tokens, err := s.cfg.Ledger.LiveTokens(ctx, principal)
	if err != nil {
		return Tree{}, err
	}
	b := treeBuilder{now: s.cfg.Now(), frozen: frozen, tokens: tokens, all: all, children: map[agentid.Ref][]ledger.Agent{}}
	if b.above, err = s.liveAbove(ctx, of, frozen); err != nil {
		return Tree{}, err
	}
	var roots []ledger.Agent
	for _, row := range rows {
		if row.Ref == of || row.Parent.IsZero() {
			roots = append(roots, row)
		} else {
			b.children[row.Parent] = append(b.children[row.Parent], row)
		}
	}
	for _, root := range roots {
		b.add(&out.Agents, root, b.above)
	}
	return out, nil
}

// treeRows are the agents of a tree, and whose they are.
func (s *Service) treeRows(ctx context.Context, of agentid.Ref) ([]ledger.Agent, agentid.Ref, error) {
	if of.Type() == agentid.TypePrincipal {
		if _, err := s.cfg.Ledger.Principal(ctx, of); err != nil {
			return nil, of, err
		}
		rows, err := s.cfg.Ledger.AgentsOf(ctx, of, MaxTree+1)
		return rows, of, err
	}
	root, err := s.cfg.Ledger.Agent(ctx, of)
	if err != nil {
		return nil, of, err
	}
	rows, err := s.cfg.Ledger.Subtree(ctx, of, MaxTree+1)
	return rows, root.Principal, err
}

// liveAbove says whether everything above the root of a tree is in use.
func (s *Service) liveAbove(ctx context.Context, of agentid.Ref, frozen map[string][]string) (bool, error) {
	if of.Type() == agentid.TypePrincipal {
		return true, nil
	}
	line, err := s.cfg.Ledger.Lineage(ctx, of)
	if err != nil {
		return false, err
	}
	for _, a := range line[1:] {
		if stateOf(a, frozen[a.Ref.String()], s.cfg.Now()) != StateActive || len(frozen[a.Type.String()]) > 0 {
			return false, nil
		}
	}
	return true, nil
}

type treeBuilder struct {
	now      time.Time
	frozen   map[string][]string
	tokens   map[agentid.Ref]int
	children map[agentid.Ref][]ledger.Agent
	above    bool
	all      bool
}

func (b *treeBuilder) add(out *[]Node, a ledger.Agent, above bool) {
	state := stateOf(a, b.frozen[a.Ref.String()], b.now)
	ended := state == StateRetired || state == StateExpired
	live := above && state == StateActive && len(b.frozen[a.Principal.String()]) == 0 &&
		len(b.frozen[a.Type.String()]) == 0 && len(b.frozen[agentid.TypeTenant+":"+a.Ref.Tenant()]) == 0
	if b.all || !ended {
		n := Node{
			Ref: a.Ref, Type: a.Type, Principal: a.Principal, Parent: a.Parent, Depth: a.Depth, State: state,
			FrozenFor: b.frozen[a.Ref.String()], Live: live, LiveTokens: b.tokens[a.Ref], Expires: a.Expires,
		}
		if !a.Parent.IsZero() {
			n.ChildKind = a.Kind.String()
		}
		*out = append(*out, n)
	}
	for _, child := range b.children[a.Ref] {
		b.add(out, child, live)
	}
}
