package capability

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
)

// MaxLineage is the largest number of agents in one token's chain of actors.
const MaxLineage = 33

// MaxChain is the largest number of tokens that one token may be made from.
const MaxChain = 33

// Claims are what a capability token says: RFC 9068 with RFC 8693 act, RFC 9396
// authorization_details, RFC 7800 cnf and one claim of our own.
type Claims struct {
	Issuer       string    // iss: <base>, or <base>/<tenant>
	Subject      string    // sub: the principal's Ref, or the agent's when autonomous
	ClientID     string    // client_id: the agent's Ref
	Audience     string    // aud: the one connector's resource URI
	ID           string    // jti
	Scope        string    // operations, joined by spaces
	IssuedAt     time.Time // iat, whole seconds
	NotBefore    time.Time // nbf; zero: absent
	Expiry       time.Time // exp, whole seconds
	Actor        *Actor
	Capabilities []Capability
	Confirmation Confirmation
	Context      Context
}

// Actor is one agent of the act claim: the leaf agent outermost, its parents nested.
type Actor struct {
	Subject string `json:"sub"`
	Actor   *Actor `json:"act,omitempty"`
}

// Confirmation is the key that a token is bound to, by one method or none. The zero
// value is a bearer token.
type Confirmation struct {
	JKT string `json:"jkt,omitempty"`      // RFC 9449: SHA-256 thumbprint of the DPoP key
	X5T string `json:"x5t#S256,omitempty"` // RFC 8705: SHA-256 of the client certificate
}

// IsZero reports whether the token is a bearer token.
func (c Confirmation) IsZero() bool { return c == Confirmation{} }

// Context is the claim https://agentid.dev/claims/context.
type Context struct {
	Tenant        string         `json:"tenant"`
	AgentType     agentid.Ref    `json:"agent_type"`
	Principal     agentid.Ref    `json:"principal,omitzero"` // the one it acts for; may be absent where Subject names it
	Zookie        agentid.Zookie `json:"zookie"`
	Epoch         agentid.Epoch  `json:"epoch"`
	Incarnation   string         `json:"incarnation"`
	PolicyVersion string         `json:"policy_version"`
	LineageDigest string         `json:"lineage_digest"`
	Attenuated    []agentid.Ref  `json:"attenuated,omitempty"`
	OwnAuthority  bool           `json:"own_authority,omitempty"`
	// Chain is the jti of the tokens that this one was made from, the nearest first.
	Chain []string `json:"chain,omitempty"`
	// Delegation is the id of the standing delegation that the token is under, "" for none.
	// It is the last of the chain: nobody's token, and taken back as one.
	Delegation string `json:"delegation,omitempty"`
	// Counters are, by the digest of a counted capability of this token, the counts of
	// the capabilities that it was made from: a use of it is a use of those too.
	Counters map[string][]Counter `json:"counters,omitempty"`
}

// NewActor nests a lineage, leaf first, into an act claim.
func NewActor(lineage []agentid.Ref) *Actor {
	var actor *Actor
	for _, agent := range slices.Backward(lineage) {
		actor = &Actor{Subject: agent.String(), Actor: actor}
	}
	return actor
}

// Lineage is the agent and its ancestors, leaf first. It is nil if the act claim is
// absent, malformed or too long, which Sign and Verify refuse.
func (c Claims) Lineage() []agentid.Ref {
	var out []agentid.Ref
	for actor := c.Actor; actor != nil; actor = actor.Actor {
		ref, err := agentid.ParseRefAs(agentid.TypeAgent, actor.Subject)
		if err != nil || len(out) == MaxLineage {
			return nil
		}
		out = append(out, ref)
	}
	return out
}

// Agent is the agent that holds the token; zero if client_id is malformed.
func (c Claims) Agent() agentid.Ref {
	ref, err := agentid.ParseRefAs(agentid.TypeAgent, c.ClientID)
	if err != nil {
		return agentid.Ref{}
	}
	return ref
}

// Principal is the one that the agent acts for: sub, or the context's where sub is
// the agent itself. It is zero if they are malformed or contradict each other.
func (c Claims) Principal() agentid.Ref {
	own := c.Context.Principal
	if c.Subject == c.ClientID {
		if own.Type() != agentid.TypePrincipal {
			return agentid.Ref{}
		}
		return own
	}
	ref, err := agentid.ParseRefAs(agentid.TypePrincipal, c.Subject)
	if err != nil || !own.IsZero() && own != ref {
		return agentid.Ref{}
	}
	return ref
}

// Tokens are the refs of this token and of those that it was made from.
func (c Claims) Tokens() ([]agentid.Ref, error) {
	out := make([]agentid.Ref, 0, 1+len(c.Context.Chain))
	for _, jti := range append([]string{c.ID}, c.Context.Chain...) {
		ref, err := agentid.TokenRef(c.Context.Tenant, jti)
		if err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

// LineageDigest is the SHA-256 of the refs, leaf first, one per line, in base64url.
func LineageDigest(lineage []agentid.Ref) string {
	h := sha256.New()
	for _, ref := range lineage {
		_, _ = fmt.Fprintln(h, ref)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Validate holds the claims against each other: all required ones are there, every
// ref is well formed and of the context's tenant, the outermost actor is the client,
// the lineage digest fits, the confirmation has at most one method. It does not look
// at the time, the issuer or the audience beyond their presence. The error is
// KindInvalid with the claim as field.
func (c Claims) Validate() error {
	for _, text := range []struct{ claim, value string }{
		{"iss", c.Issuer},
		{"aud", c.Audience},
		{"jti", c.ID},
		{"context.zookie", string(c.Context.Zookie)},
		{"context.incarnation", c.Context.Incarnation},
		{"context.policy_version", c.Context.PolicyVersion},
	} {
		if !isText(text.value) {
			return agentid.Invalidf(text.claim, "is missing or malformed")
		}
	}
	if c.IssuedAt.IsZero() || c.Expiry.IsZero() || !c.Expiry.After(c.IssuedAt) || c.NotBefore.After(c.Expiry) {
		return agentid.Invalidf("exp", "exp and iat are missing or out of order")
	}
	if c.Context.Epoch < 0 || int64(c.Context.Epoch) > MaxInteger {
		return agentid.Invalidf("context.epoch", "is out of range")
	}
	scope := strings.Split(c.Scope, " ")
	slices.Sort(scope)
	if strings.Join(scope, " ") != Scope(c.Capabilities) {
		return agentid.Invalidf("scope", "does not name the operations of the capabilities")
	}
	if c.Confirmation.JKT != "" && c.Confirmation.X5T != "" {
		return agentid.Invalidf("cnf", "has more than one method")
	}
	for _, digest := range []string{c.Confirmation.JKT, c.Confirmation.X5T} {
		if digest != "" && !isDigest(digest) {
			return agentid.Invalidf("cnf", "is not a SHA-256 in base64url")
		}
	}
	if err := c.validateParties(); err != nil {
		return err
	}
	if err := c.validateCapabilities(); err != nil {
		return err
	}
	return c.validateCounters()
}

func (c Claims) validateParties() error {
	tenant := c.Context.Tenant
	if _, err := agentid.TenantRef(tenant); err != nil {
		return agentid.Invalidf("context.tenant", "is missing or malformed")
	}
	lineage := c.Lineage()
	if len(lineage) == 0 || lineage[0].String() != c.ClientID {
		return agentid.Invalidf("act", "does not begin with the client")
	}
	if c.Context.LineageDigest != LineageDigest(lineage) {
		return agentid.Invalidf("context.lineage_digest", "does not fit act")
	}
	for i, agent := range lineage {
		if agent.Tenant() != tenant || slices.Index(lineage, agent) != i {
			return agentid.Invalidf("act", "names another tenant, or an agent twice")
		}
	}
	for _, agent := range c.Context.Attenuated {
		if !slices.Contains(lineage, agent) {
			return agentid.Invalidf("context.attenuated", "is not of the lineage")
		}
	}
	if c.Principal().Tenant() != tenant {
		return agentid.Invalidf("sub", "is neither a principal of the tenant nor the agent with its principal")
	}
	if t := c.Context.AgentType; t.Type() != agentid.TypeAgentType || t.Tenant() != tenant {
		return agentid.Invalidf("context.agent_type", "is not an agent type of the tenant")
	}
	// Each token of the chain was held by another ancestor; a delegation was held by none.
	held := c.Context.Chain
	if d := c.Context.Delegation; d != "" {
		if len(held) == 0 || held[len(held)-1] != d {
			return agentid.Invalidf("context.delegation", "is not the last of the chain")
		}
		held = held[:len(held)-1]
	}
	if len(held) >= len(lineage) {
		return agentid.Invalidf("context.chain", "is longer than the line of ancestors")
	}
	for i, jti := range c.Context.Chain {
		if jti == c.ID || slices.Index(c.Context.Chain, jti) != i {
			return agentid.Invalidf("context.chain", "names a token twice")
		}
	}
	if _, err := c.Tokens(); err != nil {
		return agentid.Invalidf("jti", "is not the id of a token")
	}
	return nil
}

func (c Claims) validateCapabilities() error {
	if len(c.Capabilities) == 0 || len(c.Capabilities) > MaxCapabilities {
		return agentid.Invalidf("authorization_details", "want 1 to %d capabilities", MaxCapabilities)
	}
	for i, capability := range c.Capabilities {
		if err := capability.Validate(); err != nil {
			return at(i, err)
		}
		if capability.Resource.Tenant() != c.Context.Tenant {
			return agentid.Invalidf(fmt.Sprintf("authorization_details[%d].identifier", i), "is of another tenant")
		}
	}
	return nil
}

func isDigest(s string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(sum) == sha256.Size && !strings.ContainsAny(s, "\r\n")
}
