package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httpx"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLife = 60 * time.Second
	maxAnswer     = 1 << 20
	useNonce      = "use_dpop_nonce"
)

// Agent is one agent at the broker: it authenticates with its key and proves
// possession of it. It is safe for concurrent use.
type Agent struct {
	cfg AgentConfig

	mu    sync.Mutex
	nonce string // the broker's latest DPoP nonce
}

// AgentConfig names an agent and its broker.
type AgentConfig struct {
	Issuer string      // "https://id.example.com/acme"; the endpoints are below it
	Agent  agentid.Ref // the client_id
	Key    Key
	HTTP   *http.Client     // nil: a client with a timeout of 30 s
	Now    func() time.Time // nil: time.Now
}

// NewAgent checks the config.
func NewAgent(cfg AgentConfig) (*Agent, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, agentid.Invalidf("issuer", "want scheme://host[/tenant]")
	}
	if cfg.Agent.Type() != agentid.TypeAgent {
		return nil, agentid.Invalidf("agent", "want agent:tenant/name")
	}
	if cfg.Key.IsZero() {
		return nil, agentid.Invalidf("key", "an agent needs its private key")
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 30 * time.Second}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Agent{cfg: cfg}, nil
}

// TokenRequest is what to ask a token for. Details is a JSON array of capabilities or
// template calls (RFC 9396).
type TokenRequest struct {
	Details  json.RawMessage
	Resource string // RFC 8707; may be empty where the details name one connector
	Bearer   bool   // ask for an unbound token, where the connector allows it
}

// Token is an issued token.
type Token struct {
	Access  agentid.Secret
	Type    string // "DPoP" or "Bearer"
	Expires time.Time
	Scope   string
	Details json.RawMessage // as granted
}

// Mint gets a token. Errors: *Refusal when the broker says no; anything else is a
// failure to reach it. A demand for a nonce is met once.
func (a *Agent) Mint(ctx context.Context, req TokenRequest) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(req.Details) > 0 {
		form.Set("authorization_details", string(req.Details))
	}
	if req.Resource != "" {
		form.Set("resource", req.Resource)
	}
	start := a.cfg.Now()
	body, err := a.post(ctx, "/oauth2/token", form, !req.Bearer)
	if err != nil {
		return Token{}, err
	}
	var answer struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   int64           `json:"expires_in"`
		Scope       string          `json:"scope"`
		Details     json.RawMessage `json:"authorization_details"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return Token{}, errors.New("the broker's answer holds no token")
	}
	if !req.Bearer && answer.TokenType != "DPoP" {
		return Token{}, errors.New("the broker's token is not bound to the key")
	}
	return Token{
		Access: agentid.NewSecret(answer.AccessToken), Type: answer.TokenType, Scope: answer.Scope, Details: answer.Details,
		Expires: start.Add(time.Duration(answer.ExpiresIn) * time.Second),
	}, nil
}

// Revoke takes a token of this agent back. It returns once the revocation holds.
func (a *Agent) Revoke(ctx context.Context, token agentid.Secret) error {
	_, err := a.post(ctx, "/oauth2/revoke", url.Values{"token": {token.Reveal()}}, false)
	return err
}

// Proof makes a DPoP proof (RFC 9449) for one request with a token. target is the URL
// without query and fragment.
func (a *Agent) Proof(method, target string, token agentid.Secret, nonce string) (string, error) {
	claims := map[string]any{"jti": httpx.NewID(), "htm": method, "htu": target, "iat": a.cfg.Now().Unix()}
	if !token.IsZero() {
		sum := sha256.Sum256([]byte(token.Reveal()))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return a.cfg.Key.sign("dpop+jwt", true, claims)
}

// assertion is the agent's private_key_jwt: its sole audience is the issuer.
func (a *Agent) assertion() (string, error) {
	now, id := a.cfg.Now(), a.cfg.Agent.String()
	return a.cfg.Key.sign("client-authentication+jwt", false, map[string]any{
		"iss": id, "sub": id, "aud": a.cfg.Issuer, "jti": httpx.NewID(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
}

// post sends an authenticated form, with a proof if bound, and once more if the
// broker asks for a nonce.
func (a *Agent) post(ctx context.Context, path string, form url.Values, bound bool) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		status, header, body, err := a.send(ctx, path, form, bound)
		if err != nil {
			return nil, err
		}
		if nonce := header.Get("DPoP-Nonce"); nonce != "" {
			a.mu.Lock()
			a.nonce = nonce
			a.mu.Unlock()
		}
		if status == http.StatusOK {
			return body, nil
		}
		r := refusal(status, body)
		if attempt > 0 || !bound || r.Code != useNonce {
			return nil, r
		}
	}
}

func (a *Agent) send(ctx context.Context, path string, form url.Values, bound bool) (int, http.Header, []byte, error) {
	assertion, err := a.assertion()
	if err != nil {
		return 0, nil, nil, err
	}
	form.Set("client_id", a.cfg.Agent.String())
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion)
	target := a.cfg.Issuer + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("broker: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if bound {
		a.mu.Lock()
		nonce := a.nonce
		a.mu.Unlock()
		proof, err := a.Proof(http.MethodPost, target, agentid.Secret{}, nonce)
		if err != nil {
			return 0, nil, nil, err
		}
		req.Header.Set("DPoP", proof)
	}
	return exchange(a.cfg.HTTP, req)
}

// exchange sends a request and reads the bounded answer.
func exchange(c *http.Client, req *http.Request) (int, http.Header, []byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, nil, agentid.Unavailable("broker_unreachable", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, nil, agentid.Unavailable("broker_unreachable", err)
	}
	return resp.StatusCode, resp.Header, body, nil
}
