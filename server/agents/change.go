package agents

import (
	"context"
	"encoding/json"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// grace is how long the edge of a withdrawn token outlives it.
const grace = capability.MaxSkew + revocation.Margin

// Rotate gives the agent that asks another key. Its credential proves the old key, proof
// the new one. Tokens that are bound to the old key are revoked when it returns, and with
// them those that were made from them; the old key is never taken again.
func (s *Service) Rotate(ctx context.Context, by Actor, issuer string, key json.RawMessage, proof string) (Agent, error) {
	if by.Agent.IsZero() {
		return Agent{}, agentid.Invalidf("agent", "only the agent itself has its old key")
	}
	parsed, err := keyproof.ParseKey(key)
	if err != nil {
		return Agent{}, err
	}
	if err := keyproof.Verify(proof, parsed, keyproof.Claims{Issuer: issuer, Subject: by.Agent}, s.cfg.Now()); err != nil {
		return Agent{}, err
	}
	row, err := s.settledRow(ctx, by.Agent)
	if err != nil {
		return Agent{}, err
	}
	record := s.record(ctx, by, "agent.rotate", row)
	record.Notes["thumbprint_before"] = row.Thumbprint
	w := ledger.Withdrawal{Reason: "key_rotated", Actor: by.name(), Grace: grace}
	if _, err := s.cfg.Ledger.RotateKey(ctx, by.Agent, key, by.Assertion, w, record); err != nil {
		return Agent{}, err
	}
	return s.withdrawn(ctx, by.Agent)
}

// Narrow gives an agent a smaller ceiling. Tokens of it, and of those that it bounds,
// are revoked when it returns: their next request is refused, their next token narrower.
// KindForbidden ceiling_exceeded: an entry is not within one of the old ceiling.
func (s *Service) Narrow(ctx context.Context, by Actor, ref agentid.Ref, ceiling json.RawMessage) (Agent, error) {
	row, err := s.settledRow(ctx, ref)
	if err != nil {
		return Agent{}, err
	}
	next, err := s.ceiling(ctx, Spec{Tenant: ref.Tenant(), Type: row.Type, Ceiling: ceiling})
	if err != nil {
		return Agent{}, err
	}
	if next == nil {
		return Agent{}, agentid.Invalidf("ceiling", "is required")
	}
	if err := s.narrower(ctx, row, next); err != nil {
		return Agent{}, err
	}
	w := ledger.Withdrawal{Reason: "ceiling_narrowed", Actor: by.name(), Grace: grace}
	if err := s.cfg.Ledger.SetCeiling(ctx, ref, next, w, s.record(ctx, by, "agent.narrow", row)); err != nil {
		return Agent{}, err
	}
	return s.withdrawn(ctx, ref)
}

// narrower refuses a ceiling that is not within the agent's present one.
func (s *Service) narrower(ctx context.Context, row ledger.Agent, next json.RawMessage) error {
	old := row.Ceiling
	if len(old) == 0 {
		typ, err := s.cfg.Ledger.AgentType(ctx, row.Type)
		if err != nil {
			return err
		}
		old = typ.Ceiling
	}
	if len(old) == 0 {
		return nil
	}
	before, err := capability.ParseRequest(old)
	if err != nil {
		return err
	}
	after, err := capability.ParseRequest(next)
	if err != nil {
		return err
	}
	for _, c := range after.Capabilities {
		var refusal error
		for _, bound := range before.Capabilities {
			if refusal = c.Within(bound); refusal == nil {
				break
			}
		}
		if refusal != nil {
			e := agentid.AsError(refusal)
			return agentid.Errorf(agentid.KindForbidden, "ceiling_exceeded", "a ceiling is only narrowed: %s", e.Message).WithField("ceiling." + e.Field).WithCause(refusal)
		}
	}
	return nil
}

// SettleTokens completes the withdrawal of tokens that a change in the ledger began.
func (s *Service) SettleTokens(ctx context.Context) (revocation.Receipt, error) {
	_, receipt, err := s.cfg.Revoker.Sweep(context.WithoutCancel(ctx))
	return receipt, err
}

// withdrawn describes an agent whose tokens were withdrawn, once they are.
func (s *Service) withdrawn(ctx context.Context, ref agentid.Ref) (Agent, error) {
	receipt, err := s.SettleTokens(ctx)
	if err != nil {
		return Agent{}, err
	}
	out, err := s.Describe(ctx, ref)
	out.Revocation = &receipt
	return out, err
}
