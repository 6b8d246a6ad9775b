package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/client/refusal"
)

// Refusal is an answer of the broker that says no, with its stable reason.
type Refusal = refusal.Refusal //nolint:errname // what it is

// Config names an agent and its broker.
type Config struct {
	Issuer string      // "https://id.example.com/acme"; the endpoints are below it
	Agent  agentid.Ref // the client_id
	Key    Key
	HTTP   *http.Client     // nil: one with a timeout of 30 s that follows no redirect
	Now    func() time.Time // nil: time.Now
}

// Client is one agent at its broker.
type Client struct {
	cfg Config

	mu      sync.Mutex
	held    held
	nonce   string // the broker's latest DPoP nonce
	sources map[string]*Source
}

// held is the agent's key, ready to sign.
type held struct {
	key    Key
	proofs *dpop.Signer
}

func hold(key Key) (held, error) {
	proofs, err := dpop.NewSigner(key.signing())
	return held{key, proofs}, err //nolint:wrapcheck // names the field
}

// New checks the config. Nothing is sent.
func New(cfg Config) (*Client, error) {
	if cfg.Agent.Type() != agentid.TypeAgent {
		return nil, agentid.Invalidf("agent", "want agent:tenant/name")
	}
	return connect(cfg)
}

// connect makes a client; without an agent it authenticates nowhere.
func connect(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, agentid.Invalidf("issuer", "want scheme://host[/tenant]")
	}
	if cfg.Key.IsZero() {
		return nil, agentid.Invalidf("key", "an agent needs its private key")
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ready, err := hold(cfg.Key)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, held: ready, sources: map[string]*Source{}}, nil
}

// Agent is the agent that the client is.
func (c *Client) Agent() agentid.Ref { return c.cfg.Agent }

// Issuer is the agent's issuer.
func (c *Client) Issuer() string { return c.cfg.Issuer }

// Key is the agent's present key.
func (c *Client) Key() Key { return c.keys().key }

func (c *Client) keys() held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// Proof makes a DPoP proof (RFC 9449) for one request. The zero token is for the broker's
// own endpoints; target is an absolute URL; nonce is the server's latest, or empty.
func (c *Client) Proof(method, target string, token agentid.Secret, nonce string) (string, error) {
	return c.keys().proofs.Sign(dpop.Request{ //nolint:wrapcheck // an agentid.Error
		Method: method, URL: target, AccessToken: token.Reveal(), Nonce: nonce, Now: c.cfg.Now(),
	})
}

func (c *Client) assertion(key Key) (string, error) {
	return clientauth.Sign(key.signing(), clientauth.Request{ //nolint:wrapcheck // an agentid.Error
		ClientID: c.cfg.Agent.String(), Issuer: c.cfg.Issuer, Now: c.cfg.Now(),
	})
}

// form sends an authenticated form, with a proof if bound, and once more if the broker
// asks for a nonce.
func (c *Client) form(ctx context.Context, path string, form url.Values, bound bool) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		a, err := c.sendForm(ctx, path, form, bound)
		if err != nil {
			return nil, err
		}
		if nonce := a.Header.Get("DPoP-Nonce"); nonce != "" {
			c.mu.Lock()
			c.nonce = nonce
			c.mu.Unlock()
		}
		if a.Status == http.StatusOK {
			return a.Body, nil
		}
		r := refusal.Read(a.Status, a.Body)
		if attempt > 0 || !bound || r.Code != "use_dpop_nonce" {
			return nil, r
		}
	}
}

func (c *Client) sendForm(ctx context.Context, path string, form url.Values, bound bool) (refusal.Answer, error) {
	if !c.cfg.Agent.IsZero() {
		assertion, err := c.assertion(c.keys().key)
		if err != nil {
			return refusal.Answer{}, err
		}
		form.Set("client_id", c.cfg.Agent.String())
		form.Set("client_assertion_type", clientauth.AssertionType)
		form.Set("client_assertion", assertion)
	}
	target := c.cfg.Issuer + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return refusal.Answer{}, fmt.Errorf("broker: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if bound {
		c.mu.Lock()
		nonce := c.nonce
		c.mu.Unlock()
		proof, err := c.Proof(http.MethodPost, target, agentid.Secret{}, nonce)
		if err != nil {
			return refusal.Answer{}, err
		}
		req.Header.Set("DPoP", proof)
	}
	return refusal.Do(c.cfg.HTTP, req) //nolint:wrapcheck // an agentid.Error
}

// call calls an endpoint of agents, below /agents/v1, as the holder of key.
func (c *Client) call(ctx context.Context, key Key, method, path string, in, out any) error {
	assertion, err := c.assertion(key)
	if err != nil {
		return err
	}
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.Issuer+"/agents/v1"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+assertion)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	a, err := refusal.Do(c.cfg.HTTP, req)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		return refusal.Read(a.Status, a.Body)
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		return fmt.Errorf("the broker's answer: %w", err)
	}
	return nil
}

// stays reports whether a host name or address is this machine.
func stays(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
