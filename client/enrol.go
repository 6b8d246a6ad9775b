package client

import (
	"context"
	"net/url"

	"github.com/agentid-dev/agentid"
)

// Enrol makes an agent of a workload: token is what its platform says of it (a Kubernetes
// service account token, a CI job's, an SVID), and a rule of the tenant admits it (RFC 7523
// section 2.1). cfg names no agent: which one it is depends on the key, which becomes the
// agent's own. The client that is returned authenticates by that key from then on, and the
// token is the first one, as Mint's; req may be empty where the rule says what to ask for.
//
// Enrolling again with the same key finds the same agent. When its rule's lifetime is over
// the broker refuses it: come with a new key. Errors as Mint's.
func Enrol(ctx context.Context, cfg Config, token agentid.Secret, req TokenRequest) (*Client, Token, error) {
	switch {
	case !cfg.Agent.IsZero():
		return nil, Token{}, agentid.Invalidf("agent", "a workload that enrols has no name yet")
	case token.IsZero():
		return nil, Token{}, agentid.Invalidf("token", "there is no workload token")
	case req.Bearer:
		return nil, Token{}, agentid.Invalidf("bearer", "a workload that enrols proves its key")
	}
	c, err := connect(cfg)
	if err != nil {
		return nil, Token{}, err
	}
	first, err := c.issue(ctx, req, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"assertion":  {token.Reveal()},
	})
	if err != nil {
		return nil, Token{}, err
	}
	_, agent := read(first.Access.Reveal())
	if c.cfg.Agent, err = agentid.ParseRefAs(agentid.TypeAgent, agent); err != nil {
		return nil, Token{}, agentid.Errorf(agentid.KindUpstream, "token_unreadable", "the broker's token names no agent").WithCause(err)
	}
	return c, first, nil
}
