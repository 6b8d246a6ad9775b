package compare

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/loadtest/local"
)

// ours makes the requests of AgentID's agents.
type ours struct {
	d      *local.Deployment
	tenant local.Tenant
	host   string

	mu       sync.Mutex
	bearer   [][]byte       // an allowed read of each agent, with a warm unbound token
	tokens   []client.Token // those tokens
	bound    []client.Token // warm tokens that are bound to their agents' keys
	signers  []*dpop.Signer // of the agents
	sequence int            // of refunds and previews: each has an amount of its own
	deep     [][]byte       // an allowed read of each agent below 31 ancestors; made when asked for
	short    agentid.Secret // a token whose agent expires
	ends     time.Time
}

const minters = 16

// newOurs mints a bearer and a bound token for each agent of tenant 0.
func newOurs(ctx context.Context, d *local.Deployment) (*ours, error) {
	o := &ours{d: d, tenant: d.Tenants[0]}
	u, err := url.Parse(o.tenant.Resource)
	if err != nil {
		return nil, fmt.Errorf("resource: %w", err)
	}
	o.host = u.Host
	n := len(o.tenant.Agents)
	o.tokens, o.bound = make([]client.Token, n), make([]client.Token, n)
	for _, a := range o.tenant.Agents {
		s, err := dpop.NewSigner(a.Signing)
		if err != nil {
			return nil, err //nolint:wrapcheck // an agentid.Error
		}
		o.signers = append(o.signers, s)
	}
	err = spread2(ctx, n, func(ctx context.Context, i int) (err error) {
		a := o.tenant.Agents[i]
		if o.tokens[i], err = a.Mint(ctx, a.Request(o.tenant, true, local.TemplateRead, local.TemplatePreview, local.TemplateRefund)); err != nil {
			return err //nolint:wrapcheck // a Refusal
		}
		o.bound[i], err = a.Mint(ctx, a.Request(o.tenant, false, local.TemplateRead))
		return err //nolint:wrapcheck // a Refusal
	})
	if err != nil {
		return nil, fmt.Errorf("mint: %w", err)
	}
	for i := range n {
		o.bearer = append(o.bearer, o.read(i, o.tokens[i].Access))
	}
	return o, o.shorten(ctx)
}

// spread2 calls do for 0 to n-1, several at a time.
func spread2(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(minters)
	for i := range n {
		group.Go(func() error { return do(gctx, i) })
	}
	return group.Wait() //nolint:wrapcheck // the caller's own
}

func (o *ours) path(agent int) string { return "/v1/customers/" + o.tenant.Agents[agent].Customer }

func (o *ours) read(agent int, token agentid.Secret) []byte {
	return message(http.MethodGet, o.path(agent), o.host, "", "Authorization: Bearer "+token.Reveal())
}

// shorten mints a token for an agent that expires soon: a token ends with its agent.
func (o *ours) shorten(ctx context.Context) error {
	const life = 3 * time.Second
	o.ends = time.Now().Add(life).Truncate(time.Second)
	a, err := o.d.ShortLived(ctx, o.tenant, 1_000_000, o.ends)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	token, err := a.Mint(ctx, a.Request(o.tenant, true, local.TemplateRead))
	o.short = token.Access
	return err //nolint:wrapcheck // a Refusal
}

func (o *ours) good(context.Context) ([]byte, error) { return o.bearer[0], nil }

func (o *ours) forbidden(context.Context) ([]byte, error) {
	return message(http.MethodGet, o.path(1), o.host, "", "Authorization: Bearer "+o.tokens[0].Access.Reveal()), nil
}

func (o *ours) expired(ctx context.Context) ([]byte, error) {
	select {
	case <-time.After(time.Until(o.ends)):
	case <-ctx.Done():
		return nil, ctx.Err() //nolint:wrapcheck // the caller's
	}
	return o.read(0, o.short), nil
}

func (o *ours) misdirected(ctx context.Context) ([]byte, error) {
	t := o.d.Tenants[1]
	token, err := t.Agents[0].Mint(ctx, t.Agents[0].Request(t, true, local.TemplateRead))
	return o.read(0, token.Access), err //nolint:wrapcheck // a Refusal
}

func (o *ours) revoked(ctx context.Context) ([]byte, error) {
	a := o.tenant.Agents[0]
	token, err := a.Mint(ctx, a.Request(o.tenant, true, local.TemplateRead))
	if err != nil {
		return nil, err //nolint:wrapcheck // a Refusal
	}
	request := o.read(0, token.Access)
	status, _, err := ask(ctx, o.d.Gateway, request)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("a token that is to be revoked does not work before: %d: %w", status, err)
	}
	return request, a.Revoke(ctx, token.Access) //nolint:wrapcheck // a Refusal
}

func (o *ours) stolen(context.Context) ([]byte, error) { return o.read(0, o.bound[0].Access), nil }

// warmReads are allowed reads with unbound tokens that were seen before.
func (o *ours) warmReads(context.Context, int) ([][]byte, error) { return o.bearer, nil }

// freshReads carry a token each that nobody has seen.
func (o *ours) freshReads(ctx context.Context, n int) ([][]byte, error) {
	const most = 6000 // in one slice: they are minted beforehand
	out := make([][]byte, min(n, most))
	err := spread2(ctx, len(out), func(ctx context.Context, i int) error {
		agent := i % len(o.tenant.Agents)
		a := o.tenant.Agents[agent]
		token, err := a.Mint(ctx, a.Request(o.tenant, true, local.TemplateRead))
		out[i] = o.read(agent, token.Access)
		return err //nolint:wrapcheck // a Refusal
	})
	return out, err
}

// provenReads carry a warm token and a proof each.
func (o *ours) provenReads(ctx context.Context, n int) ([][]byte, error) {
	_, header, err := ask(ctx, o.d.Gateway, message(http.MethodGet, o.path(0), o.host, "",
		"Authorization: DPoP "+o.bound[0].Access.Reveal(), "DPoP: "+o.proof(0, http.MethodGet, o.tenant.Resource+o.path(0), o.bound[0].Access, "")))
	if err != nil {
		return nil, err
	}
	nonce := header.Get("DPoP-Nonce")
	out := make([][]byte, n)
	for i := range out {
		agent := i % len(o.tenant.Agents)
		proof := o.proof(agent, http.MethodGet, o.tenant.Resource+o.path(agent), o.bound[agent].Access, nonce)
		out[i] = message(http.MethodGet, o.path(agent), o.host, "", "Authorization: DPoP "+o.bound[agent].Access.Reveal(), "DPoP: "+proof)
	}
	return out, nil
}

func (o *ours) proof(agent int, method, target string, token agentid.Secret, nonce string) string {
	proof, err := o.signers[agent].Sign(dpop.Request{Method: method, URL: target, AccessToken: token.Reveal(), Nonce: nonce, Now: time.Now()})
	if err != nil {
		return "" // is refused, and the slice with it
	}
	return proof
}

// refunds are effects: each of another amount, with a key of its own.
func (o *ours) refunds(_ context.Context, n int) ([][]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	const most = 1_000_000 // cents, by token and policy
	out := make([][]byte, n)
	for i := range out {
		o.sequence++
		agent := o.sequence % len(o.tenant.Agents)
		a := o.tenant.Agents[agent]
		out[i] = message(http.MethodPost, "/v1/refunds", o.host,
			"charge="+a.Charge+"&amount="+strconv.Itoa(1+o.sequence%most),
			"Authorization: Bearer "+o.tokens[agent].Access.Reveal(), "Idempotency-Key: k"+strconv.Itoa(o.sequence))
	}
	return out, nil
}

// mints are signed requests for a token, for the broker or, at another path, for the bare
// handler.
func (o *ours) mints(host, path string) func(context.Context, int) ([][]byte, error) {
	return func(ctx context.Context, n int) ([][]byte, error) {
		target := o.tenant.Issuer + "/oauth2/token"
		u, err := url.Parse(o.d.Base)
		if err != nil {
			return nil, err //nolint:wrapcheck // our own
		}
		form := func(agent int) (string, error) {
			a := o.tenant.Agents[agent]
			request := a.Request(o.tenant, false, local.TemplateRead)
			assertion, err := clientauth.Sign(a.Signing, clientauth.Request{ClientID: a.Agent().String(), Issuer: o.tenant.Issuer, Now: time.Now()})
			return url.Values{
				"grant_type": {"client_credentials"}, "client_id": {a.Agent().String()}, "client_assertion_type": {clientauth.AssertionType},
				"client_assertion": {assertion}, "authorization_details": {string(request.Details)}, "resource": {o.tenant.Resource},
			}.Encode(), err //nolint:wrapcheck // an agentid.Error
		}
		first, err := form(0)
		if err != nil {
			return nil, err
		}
		_, header, err := ask(ctx, u.Host, message(http.MethodPost, "/"+o.tenant.Name+"/oauth2/token", u.Host, first,
			"DPoP: "+o.proof(0, http.MethodPost, target, agentid.Secret{}, "")))
		if err != nil {
			return nil, err
		}
		out := make([][]byte, n)
		for i := range out {
			agent := i % len(o.tenant.Agents)
			body, err := form(agent)
			if err != nil {
				return nil, err
			}
			proof := o.proof(agent, http.MethodPost, target, agentid.Secret{}, header.Get("DPoP-Nonce"))
			out[i] = message(http.MethodPost, path, host, body, "DPoP: "+proof)
		}
		return out, nil
	}
}

// introspections ask about warm tokens.
func (o *ours) introspections(host, path string) func(context.Context, int) ([][]byte, error) {
	return func(context.Context, int) ([][]byte, error) {
		basic, err := http.NewRequest(http.MethodPost, o.d.Base, nil) //nolint:noctx // its header is what is wanted
		if err != nil {
			return nil, err //nolint:wrapcheck // our own
		}
		basic.SetBasicAuth(url.QueryEscape(o.tenant.Service.ID), url.QueryEscape(o.tenant.Service.Secret.Reveal()))
		var out [][]byte
		for _, t := range o.tokens {
			out = append(out, message(http.MethodPost, path, host, url.Values{"token": {t.Access.Reveal()}}.Encode(),
				"Authorization: "+basic.Header.Get("Authorization")))
		}
		return out, nil
	}
}
