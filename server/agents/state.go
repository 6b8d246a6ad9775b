package agents

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// States of an agent, as answers say them.
const (
	StateActive   = "active"
	StateFrozen   = "frozen"
	StateExpired  = "expired"
	StateRetired  = "retired"
	StateSpawning = "spawning"
)

// Agent is an agent as answers describe it.
type Agent struct {
	Ref        agentid.Ref     `json:"agent"`
	Type       agentid.Ref     `json:"type"`
	Principal  agentid.Ref     `json:"principal"`
	Parent     agentid.Ref     `json:"parent,omitzero"`
	ChildKind  string          `json:"child_kind,omitempty"` // "attenuated" or "independent"; of a child only
	Depth      int             `json:"depth"`                // ancestors above it
	Lineage    []agentid.Ref   `json:"lineage,omitempty"`    // leaf first
	State      string          `json:"state"`
	FrozenFor  []string        `json:"frozen_for,omitempty"`
	Key        json.RawMessage `json:"key,omitempty"`
	Thumbprint string          `json:"thumbprint"` // of its key (RFC 7638)
	Ceiling    json.RawMessage `json:"ceiling,omitempty"`
	Created    time.Time       `json:"created"`
	Expires    time.Time       `json:"expires,omitzero"`
	// Revocation is what taking its tokens back came to; in answers to a change.
	Revocation *revocation.Receipt `json:"revocation,omitempty"`
}

func expired(a ledger.Agent, now time.Time) bool { return !a.Expires.IsZero() && !a.Expires.After(now) }

// stateOf is where an agent stands by itself; what is above it may have ended it all the
// same.
func stateOf(a ledger.Agent, reasons []string, now time.Time) string {
	switch {
	case a.State == ledger.AgentSpawning:
		return StateSpawning
	case a.State != ledger.AgentActive:
		return StateRetired
	case expired(a, now):
		return StateExpired
	case len(reasons) > 0:
		return StateFrozen
	}
	return StateActive
}

func view(a ledger.Agent, reasons []string, now time.Time) Agent {
	out := Agent{
		Ref: a.Ref, Type: a.Type, Principal: a.Principal, Parent: a.Parent, Depth: a.Depth, State: stateOf(a, reasons, now),
		FrozenFor: reasons, Key: a.PublicKey, Thumbprint: a.Thumbprint, Created: a.Created, Expires: a.Expires,
	}
	if !a.Parent.IsZero() {
		out.ChildKind = a.Kind.String()
	}
	if len(a.Ceiling) > 0 {
		out.Ceiling = a.Ceiling
	}
	return out
}

// State is an agent's state and why it is frozen: KindNotFound agent_unknown.
func (s *Service) State(ctx context.Context, ref agentid.Ref) (state string, reasons []string, err error) {
	row, err := s.cfg.Ledger.Agent(ctx, ref)
	if err != nil {
		return "", nil, err
	}
	if reasons, err = s.reasons(ctx, ref); err != nil {
		return "", nil, err
	}
	return stateOf(row, reasons, s.cfg.Now()), reasons, nil
}

// Describe says all that is known of an agent: KindNotFound agent_unknown.
func (s *Service) Describe(ctx context.Context, ref agentid.Ref) (Agent, error) {
	line, err := s.cfg.Ledger.Lineage(ctx, ref)
	if err != nil {
		return Agent{}, err
	}
	reasons, err := s.reasons(ctx, ref)
	if err != nil {
		return Agent{}, err
	}
	out := view(line[0], reasons, s.cfg.Now())
	for _, member := range line {
		out.Lineage = append(out.Lineage, member.Ref)
	}
	return out, nil
}

// List describes a tenant's agents in order of their names, without their lineages.
func (s *Service) List(ctx context.Context, f ledger.AgentFilter) ([]Agent, error) {
	rows, err := s.cfg.Ledger.Agents(ctx, f)
	if err != nil {
		return nil, err
	}
	frozen, err := s.cfg.Ledger.FreezesOf(ctx, f.Tenant)
	if err != nil {
		return nil, err
	}
	out := make([]Agent, 0, len(rows))
	for _, row := range rows {
		out = append(out, view(row, frozen[row.Ref.String()], s.cfg.Now()))
	}
	return out, nil
}

func (s *Service) reasons(ctx context.Context, ref agentid.Ref) ([]string, error) {
	freezes, err := s.cfg.Ledger.Freezes(ctx, ref)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range freezes {
		out = append(out, f.Reason)
	}
	return out, nil
}
