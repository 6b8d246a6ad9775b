package enrol

import (
	"context"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Bounds of what is kept in memory.
const (
	rememberedIssuers = 1024
	rememberedAgents  = 16384
)

// remembered keeps issuers, their rules and enrolled agents, while nothing is written that
// they were read from. That an issuer or an agent is not there is not kept.
type remembered struct {
	ledger  Ledger
	issuers *recall.Values[issuerName, ledger.WorkloadIssuer]
	rules   *recall.Values[agentid.Ref, []rule]
	agents  *recall.Values[agentid.Ref, ledger.Agent]
}

type issuerName struct{ tenant, issuer string }

// rule is a stored rule with its claims compiled. One whose claims do not read admits
// nobody.
type rule struct {
	stored   ledger.EnrolmentRule
	required federation.Requirements
	broken   error
}

func newRemembered(l Ledger) (*remembered, error) {
	issuers, err := recall.New[issuerName, ledger.WorkloadIssuer](rememberedIssuers, l.EnrolmentChanges())
	if err != nil {
		return nil, err
	}
	rules, err := recall.New[agentid.Ref, []rule](rememberedIssuers, l.EnrolmentChanges())
	if err != nil {
		return nil, err
	}
	agents, err := recall.New[agentid.Ref, ledger.Agent](rememberedAgents, l.ClientChanges())
	return &remembered{ledger: l, issuers: issuers, rules: rules, agents: agents}, err
}

func (r *remembered) issuer(ctx context.Context, tenant, issuer string) (ledger.WorkloadIssuer, error) {
	key := issuerName{tenant, strings.Clone(issuer)} // a part of what a peer sent
	return r.issuers.Get(ctx, r.issuers.Now(), key, func(ctx context.Context) (ledger.WorkloadIssuer, error) {
		return r.ledger.WorkloadIssuerByName(ctx, tenant, issuer)
	})
}

// rulesOf are the rules of an issuer in order of their names. They are not changed.
func (r *remembered) rulesOf(ctx context.Context, issuer agentid.Ref) ([]rule, error) {
	return r.rules.Get(ctx, r.rules.Now(), issuer, func(ctx context.Context) ([]rule, error) {
		stored, err := r.ledger.RulesOf(ctx, issuer)
		if err != nil {
			return nil, err
		}
		out := make([]rule, len(stored))
		for i, s := range stored {
			out[i].stored = s
			out[i].required, out[i].broken = ParseClaims(s.Claims)
		}
		return out, nil
	})
}

func (r *remembered) agent(ctx context.Context, ref agentid.Ref) (ledger.Agent, error) {
	return r.agents.Get(ctx, r.agents.Now(), ref, func(ctx context.Context) (ledger.Agent, error) {
		return r.ledger.Agent(ctx, ref)
	})
}
