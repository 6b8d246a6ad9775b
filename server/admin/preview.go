package admin

import (
	"context"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// maxListed bounds how many agents and tokens a preview names; it counts all.
const maxListed = 100

// Preview is what a revocation would stop, with nothing done.
type Preview struct {
	Target  string `json:"target"`
	Subject string `json:"subject"`
	DryRun  bool   `json:"dry_run"`
	// Agents that would stop: the target itself, those below it and their subtrees. For
	// tokens: the agents that hold them, which may ask for others.
	Agents     int      `json:"agents"`
	AgentList  []string `json:"agent_list,omitempty"` // at most 100
	Tokens     int      `json:"tokens"`               // live ones that would be good no more
	TokenList  []string `json:"token_list,omitempty"` // at most 100
	Operations []Uses   `json:"operations"`           // what those tokens hold
}

// Uses is one operation and how many of the tokens hold it.
type Uses struct {
	Operation string `json:"operation"`
	Tokens    int    `json:"tokens"`
}

// preview reads what an order would stop. It reads all live tokens of the tenant once.
func (s *Service) preview(ctx context.Context, o revokeOrder) (Preview, error) {
	out := Preview{Target: o.target.String(), Subject: o.target.Type(), DryRun: true, Operations: []Uses{}}
	meant, err := s.meant(ctx, o, &out)
	if err != nil {
		return out, err
	}
	operations := map[string]int{}
	holders := map[agentid.Ref]bool{}
	err = s.eachToken(ctx, o.target.Tenant(), o.selection, func(t ledger.Token) {
		if !meant(t) {
			return
		}
		out.Tokens++
		if len(out.TokenList) < maxListed {
			out.TokenList = append(out.TokenList, t.Ref.String())
		}
		holders[t.Agent] = true
		for _, name := range operationsOf(t) {
			operations[name]++
		}
	})
	if err != nil {
		return out, err
	}
	for name, n := range operations {
		out.Operations = append(out.Operations, Uses{name, n})
	}
	slices.SortFunc(out.Operations, func(a, b Uses) int { return b.Tokens - a.Tokens })
	if out.Subject == "tokens" || out.Subject == agentid.TypeToken || out.Subject == agentid.TypeConnector {
		for ref := range holders {
			out.name(ref)
		}
	}
	slices.Sort(out.AgentList)
	return out, nil
}

func (p *Preview) name(ref agentid.Ref) {
	p.Agents++
	if len(p.AgentList) < maxListed {
		p.AgentList = append(p.AgentList, ref.String())
	}
}

// meant says which tokens an order takes away, and counts the agents that it stops.
func (s *Service) meant(ctx context.Context, o revokeOrder, out *Preview) (func(ledger.Token) bool, error) {
	if o.selection != nil && o.selection.OfTokens() {
		out.Subject = "tokens"
		return func(t ledger.Token) bool { return revocation.Holds(t.Details, *o.selection) }, nil
	}
	switch {
	case o.selection != nil:
		out.Subject = "agents"
	case o.target.Type() == agentid.TypeToken:
		if _, err := s.cfg.Ledger.Token(ctx, o.target); err != nil {
			return nil, err //nolint:wrapcheck // an agentid.Error
		}
		return func(t ledger.Token) bool { return t.Ref == o.target }, nil
	case o.target.Type() == agentid.TypeConnector:
		c, err := s.cfg.Ledger.ConnectorSetting(ctx, o.target)
		if err != nil {
			return nil, err //nolint:wrapcheck // an agentid.Error
		}
		return func(t ledger.Token) bool { return t.Audience == c.Resource }, nil
	default:
		if _, err := s.named(ctx, o.target); err != nil {
			return nil, err
		}
	}
	stops, err := s.cfg.Ledger.Stopped(ctx, o.target, o.selection)
	if err != nil {
		return nil, err //nolint:wrapcheck // an agentid.Error
	}
	set := make(map[agentid.Ref]bool, len(stops))
	for _, ref := range stops {
		set[ref] = true
		out.name(ref)
	}
	return func(t ledger.Token) bool { return set[t.Agent] }, nil
}

// eachToken reads the tenant's live tokens: those that a selection of tokens means, or all.
func (s *Service) eachToken(ctx context.Context, tenant string, sel *ledger.Selection, each func(ledger.Token)) error {
	read := ledger.Selection{Before: s.cfg.Now().Add(time.Hour)}
	if sel != nil && sel.OfTokens() {
		read = *sel
	}
	for after := ""; ; {
		page, err := s.cfg.Ledger.SelectedTokens(ctx, tenant, read, capability.MaxSkew, after, ledger.MaxPage)
		if err != nil || len(page) == 0 {
			return err //nolint:wrapcheck // an agentid.Error
		}
		for _, t := range page {
			each(t)
		}
		after = page[len(page)-1].Ref.Name()
	}
}

func operationsOf(t ledger.Token) (out []string) {
	granted, err := capability.ParseRequest(t.Details)
	if err != nil {
		return nil
	}
	for _, c := range granted.Capabilities {
		for _, name := range c.Operations {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// epochOf reads an epoch from a query; empty is 0.
func epochOf(text string) (agentid.Epoch, error) {
	if text == "" {
		return 0, nil
	}
	var n agentid.Epoch
	for _, c := range text {
		if c < '0' || c > '9' || len(text) > 18 {
			return 0, agentid.Invalidf("after", "want an epoch")
		}
		n = n*10 + agentid.Epoch(c-'0')
	}
	return n, nil
}
