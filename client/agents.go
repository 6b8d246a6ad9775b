package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/keyproof"
)

// Agent is an agent as the broker describes it.
type Agent struct {
	Ref        agentid.Ref     `json:"agent"`
	Type       agentid.Ref     `json:"type"`
	Principal  agentid.Ref     `json:"principal"`
	Parent     agentid.Ref     `json:"parent,omitzero"`
	ChildKind  string          `json:"child_kind,omitempty"`
	Depth      int             `json:"depth"`             // ancestors above it
	Lineage    []agentid.Ref   `json:"lineage,omitempty"` // leaf first
	State      string          `json:"state"`             // active, frozen, expired, retired or spawning
	FrozenFor  []string        `json:"frozen_for,omitempty"`
	Thumbprint string          `json:"thumbprint"` // of its key (RFC 7638)
	Ceiling    json.RawMessage `json:"ceiling,omitempty"`
	Created    time.Time       `json:"created"`
	Expires    time.Time       `json:"expires,omitzero"`
}

// Change is what a retirement came to.
type Change struct {
	State   string `json:"state"`
	Changed bool   `json:"changed"` // false: it was so before
}

// SpawnRequest is a child to be. Type is required.
type SpawnRequest struct {
	Type string // name of its agent type
	Name string // empty: a random one
	// Independent: the child has the authority of its own type, and its parent does not
	// bound it; only where the tenant's policy allows. Otherwise it never exceeds its parent.
	Independent bool
	// Ceiling bounds every token of the child, beside its lineage's ceilings: template
	// calls and capabilities. Empty: its type's.
	CeilingTemplates []capability.TemplateCall
	Ceiling          []capability.Capability
	Lifetime         time.Duration // zero: as long as its parent's and the limits allow
	Key              Key           // zero: one is made, of the parent's algorithm
}

// Spawn starts a child of this agent and gives its Client. The child's key is made here
// and is nowhere else. A spawn whose answer is lost is asked for once more, by the same
// name and key. Errors: *Refusal with the reason, and nothing was spawned;
// KindUnavailable: it is not known, and the child's key is gone with it.
func (c *Client) Spawn(ctx context.Context, req SpawnRequest) (*Client, error) {
	if req.Name == "" {
		req.Name = strings.ToLower(rand.Text())
	}
	child, err := c.child(req)
	if err != nil {
		return nil, err
	}
	ceiling, err := entries(req.CeilingTemplates, req.Ceiling)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"name": req.Name, "type": req.Type, "key": child.Key().Public()}
	if req.Independent {
		body["child_kind"] = "independent"
	}
	if len(ceiling) > 0 {
		body["ceiling"] = ceiling
	}
	if req.Lifetime > 0 {
		body["expires"] = c.cfg.Now().Add(req.Lifetime).UTC().Truncate(time.Second)
	}
	var answer Agent
	for attempt := 0; ; attempt++ {
		if body["key_proof"], err = c.keyProof(child.Key()); err != nil {
			return nil, err
		}
		err = c.call(ctx, c.Key(), http.MethodPost, "/spawn", body, &answer)
		if err == nil {
			return child, nil
		}
		if attempt > 0 || ctx.Err() != nil || !unknown(err) {
			return nil, err
		}
	}
}

// child is the Client of a child to be.
func (c *Client) child(req SpawnRequest) (*Client, error) {
	key := req.Key
	if key.IsZero() {
		var err error
		if key, err = GenerateKey(string(c.Key().Algorithm())); err != nil {
			return nil, err
		}
	}
	ref, err := agentid.AgentRef(c.cfg.Agent.Tenant(), req.Name)
	if err != nil {
		return nil, agentid.AsError(err).WithField("name")
	}
	cfg := c.cfg
	cfg.Agent, cfg.Key = ref, key
	return New(cfg)
}

// ProveKey proves that the private half of an agent's key is here, for a registration by a
// person at an issuer.
func ProveKey(key Key, issuer string, agent agentid.Ref) (string, error) {
	return keyproof.Sign(key.signing(), keyproof.Claims{Issuer: issuer, Subject: agent}, time.Now()) //nolint:wrapcheck // an agentid.Error
}

// keyProof proves possession of a key that this agent brings in.
func (c *Client) keyProof(key Key) (string, error) {
	return keyproof.Sign(key.signing(), keyproof.Claims{Issuer: c.cfg.Issuer, Subject: c.cfg.Agent}, c.cfg.Now()) //nolint:wrapcheck // an agentid.Error
}

func asRefusal(err error) (*Refusal, bool) { return errors.AsType[*Refusal](err) }

// unknown reports whether an error leaves open what the broker did.
func unknown(err error) bool {
	if r, ok := asRefusal(err); ok {
		err = r.AsError()
	}
	return agentid.KindOf(err) == agentid.KindUnavailable
}

// Rotate gives the agent another key, and uses it from then on. Tokens that are bound to
// the old key are revoked when it returns. After an error that leaves the outcome open
// the broker is asked which key it has.
func (c *Client) Rotate(ctx context.Context, next Key) error {
	ready, err := hold(next)
	if err != nil {
		return err
	}
	proof, err := c.keyProof(next)
	if err != nil {
		return err
	}
	var answer Agent
	err = c.call(ctx, c.Key(), http.MethodPost, "/rotate", map[string]any{"key": next.Public(), "key_proof": proof}, &answer)
	if err != nil {
		if !unknown(err) || c.call(ctx, next, http.MethodGet, "/self", nil, &answer) != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = ready
	return nil
}

// Self says what the broker knows of this agent.
func (c *Client) Self(ctx context.Context) (Agent, error) {
	var out Agent
	err := c.call(ctx, c.Key(), http.MethodGet, "/self", nil, &out)
	return out, err
}

// Retire ends this agent for good, and with it all its descendants.
func (c *Client) Retire(ctx context.Context) (Change, error) {
	var out Change
	err := c.call(ctx, c.Key(), http.MethodPost, "/retire", map[string]any{}, &out)
	return out, err
}

// RetireChild ends a descendant of this agent for good, with all below it.
func (c *Client) RetireChild(ctx context.Context, child agentid.Ref) (Change, error) {
	var out Change
	err := c.call(ctx, c.Key(), http.MethodPost, "/retire", map[string]any{"agent": child.String()}, &out)
	return out, err
}
