package server

import (
	"github.com/agentid-dev/agentid/server/delegation"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/login"
	"github.com/agentid-dev/agentid/server/principals"
	"github.com/agentid-dev/agentid/server/trail"
)

// newPeople makes the parts by which people come in.
func (b *Broker) newPeople() error {
	cfg := b.cfg
	var err error
	if b.refusals, err = trail.New(trail.Config{Audit: cfg.Audit, Logger: cfg.Logger, Now: cfg.Now}); err != nil {
		return err
	}
	b.providers = principals.NewProviders(cfg.Ledger, cfg.Now)
	if b.people, err = principals.New(principals.Config{
		Ledger: cfg.Ledger, Graph: cfg.Permissions, Providers: b.providers, Revoker: b.revoker, Logger: cfg.Logger, Now: cfg.Now,
	}); err != nil {
		return err
	}
	b.login, err = login.New(login.Config{
		Issuers: b.issuers, Ledger: cfg.Ledger, Principals: b.people, Providers: b.providers, Trail: b.refusals,
		PerMinute: cfg.LoginsPerMin, Burst: cfg.LoginsBurst, Logger: cfg.Logger, Now: cfg.Now,
	})
	return err
}

// newDelegations makes the part by which people have agents act for them.
func (b *Broker) newDelegations(mint *issue.Mint) error {
	var err error
	b.delegations, err = delegation.New(delegation.Config{
		Issuers: b.issuers, Ledger: b.cfg.Ledger, Graph: b.cfg.Permissions, Principals: b.people, Providers: b.providers,
		Agents: b.agents, Revoker: b.revoker, Resolver: mint, Trail: b.refusals, Logger: b.cfg.Logger, Now: b.cfg.Now,
	})
	return err
}
