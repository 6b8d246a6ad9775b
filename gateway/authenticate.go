package gateway

import (
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway/challenge"
	"github.com/agentid-dev/agentid/gateway/limits"
	"github.com/agentid-dev/agentid/gateway/match"
	"github.com/agentid-dev/agentid/internal/policy"
)

// defaultBearerLifetime bounds unbound tokens where the connector sets no limit.
const defaultBearerLifetime = 5 * time.Minute

// caller is a verified token in the hands of its holder. Only authenticate makes one.
type caller struct {
	claims    capability.Claims
	agent     agentid.Ref
	principal agentid.Ref
	lineage   []policy.Member
	tokens    []agentid.Ref // the token first
	floor     agentid.Zookie
	epoch     agentid.Epoch // of the floor
	proof     *dpop.Proof   // fresh, and not remembered yet; nil as Bearer
}

func newProofs(cfg Config) (*dpop.Guard, error) {
	g, err := dpop.NewGuard(dpop.GuardConfig{Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

// authenticate is phase 3: the token, its binding, its audience and tenant. The
// verifier remembers signatures that it checked, and nothing else of this; whether a
// token is revoked is asked in phase 6, of the graph.
func (g *Gateway) authenticate(x *exchange, n match.Normal) (caller, error) {
	presented, err := challenge.Presented(x.r)
	if err != nil {
		return caller{}, err
	}
	if presented.Scheme == challenge.DPoP {
		x.w.Header().Set("DPoP-Nonce", g.proofs.Nonce())
	}
	claims, err := g.verifier.VerifyFor(x.r.Context(), presented.Token.Reveal(), x.route.Resource)
	if err != nil {
		return caller{}, err
	}
	if claims.Context.Tenant != x.route.Ref.Tenant() {
		return caller{}, unauthenticated(capability.ReasonAudience, "the token is not accepted")
	}
	x.claimed(claims)
	proof, err := g.binding(x, n, presented, claims)
	if err != nil {
		return caller{}, err
	}
	floor, epoch, incarnation, err := g.cfg.Fleet.Floor(x.r.Context())
	if err != nil {
		return caller{}, err
	}
	if claims.Context.Incarnation != incarnation {
		return caller{}, unauthenticated("token_incarnation", "the token is from before the broker was restored")
	}
	c := caller{claims: claims, agent: claims.Agent(), principal: claims.Principal(), floor: floor, epoch: epoch, proof: proof}
	if c.tokens, err = claims.Tokens(); err != nil {
		return caller{}, unauthenticated(capability.ReasonMalformed, "the token is not accepted")
	}
	attenuated := make(map[agentid.Ref]bool, len(claims.Context.Attenuated))
	for _, a := range claims.Context.Attenuated {
		attenuated[a] = true
	}
	for _, a := range claims.Lineage() {
		c.lineage = append(c.lineage, policy.Member{Agent: a, Attenuated: attenuated[a]})
	}
	x.identify(c)
	return c, nil
}

// binding holds the way a token is presented against the way it is bound.
func (g *Gateway) binding(x *exchange, n match.Normal, presented challenge.Credential, claims capability.Claims) (*dpop.Proof, error) {
	if presented.Scheme == challenge.Bearer && claims.Confirmation.X5T != "" {
		return nil, certificate(x, claims)
	}
	if presented.Scheme == challenge.Bearer {
		return nil, bearer(x, claims)
	}
	switch {
	case claims.Confirmation.JKT == "":
		return nil, unauthenticated("token_unbound", "the token is not bound to a key, and cannot be presented as DPoP")
	case presented.Proof == "":
		return nil, unauthenticated("dpop_proof_missing", "the DPoP header is missing").WithField("DPoP")
	}
	token := presented.Token.Reveal()
	proof, err := dpop.Verify(presented.Proof, dpop.Expect{
		Method: n.Method(), URL: x.route.Resource + n.Path(), Now: g.cfg.Now(), AccessToken: token, Thumbprint: claims.Confirmation.JKT,
	})
	if err != nil {
		return nil, err
	}
	return &proof, g.proofs.Fresh(proof)
}

// bearer admits an unbound token where the connector opted in, for a short life.
func bearer(x *exchange, claims capability.Claims) error {
	most := x.route.BearerLifetime
	if most <= 0 {
		most = defaultBearerLifetime
	}
	switch {
	case !claims.Confirmation.IsZero():
		return unauthenticated("token_bound", "the token is bound to a key and not accepted as Bearer")
	case !x.route.AllowBearer:
		return unauthenticated("bearer_not_allowed", "this connector takes only tokens that are bound to a key")
	case claims.Expiry.Sub(claims.IssuedAt) > most:
		return unauthenticated("bearer_lifetime", "the token lives longer than this connector allows without a key")
	}
	x.record.Notes["binding"] = "bearer"
	return nil
}

// claimed writes whose token was presented into the record: it is one of ours, and not
// yet in the hands of its holder.
func (x *exchange) claimed(c capability.Claims) {
	r := &x.record
	r.Principal, r.Agent, r.AgentType = c.Principal().String(), c.Agent().String(), c.Context.AgentType.String()
	for _, a := range c.Lineage() {
		r.Lineage = append(r.Lineage, a.String())
	}
	r.Token, r.PolicyVersion = c.ID, c.Context.PolicyVersion
	r.Notes[noteKey] = "unproven"
	if c.Context.OwnAuthority {
		r.Notes["authority"] = "own"
	}
}

// noteKey tells a token whose presenter did not show that it holds the token's key.
const noteKey = "key"

// identify notes that who is asking is whose token it is.
func (x *exchange) identify(c caller) {
	x.authenticated = true
	x.record.Epoch = c.epoch
	delete(x.record.Notes, noteKey)
}

// admitted is a caller within its rate. Only rate makes one.
type admitted struct{ caller }

// rate is phase 4. A proof is remembered here: one of an agent over its rate takes no
// place of the memory that all share. Before this a proof has not passed.
func (g *Gateway) rate(x *exchange, c caller) (admitted, error) {
	err := g.limits.Allow(x.r.Context(), limits.Subject{Token: c.tokens[0], Agent: c.agent, Connector: x.route.Ref}, x.route.Rates)
	if err == nil && c.proof != nil {
		err = g.proofs.Check(*c.proof)
	}
	return admitted{c}, err
}

func unauthenticated(reason, message string) *agentid.Error {
	return agentid.Errorf(agentid.KindUnauthenticated, reason, "%s", message)
}
