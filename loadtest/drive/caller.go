package drive

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/loadtest/openloop"
)

// Caller is one agent with what it asks for and where.
type Caller struct {
	Agent    *client.Client
	Resource string // the connector's URL
	Request  client.TokenRequest
	Read     string // path of a read that is allowed
	Denied   string // path of a read that the token does not permit; empty: none is known
	Customer string // whose invoice may be previewed; empty: none
	Charge   string // that may be refunded; empty: none
	Service  adminclient.Service

	source *client.Source
	pool   []client.Token // tokens of one use each, with fresh tokens
	taken  atomic.Int64
	nonce  atomic.Pointer[string]
	http   *http.Client
}

func (c *Caller) prepare(h *http.Client) {
	c.http = h
	c.source = c.Agent.Source(c.Request)
}

// token is the warm token, or the next one of the pool.
func (c *Caller) token(ctx context.Context) (client.Token, error) {
	if len(c.pool) == 0 {
		return c.source.Token(ctx) //nolint:wrapcheck // classified by the caller
	}
	return c.pool[int(c.taken.Add(1)-1)%len(c.pool)], nil
}

// sending is one request to the gateway.
type sending struct{ method, path, form, key string }

// send makes it with a token, and once more when the gateway asks for a nonce. It gives
// the status and the reason in a refusal.
func (c *Caller) send(ctx context.Context, s sending, token client.Token) (status int, reason string, err error) {
	for attempt := 0; ; attempt++ {
		req, err := c.build(ctx, s, token)
		if err != nil {
			return 0, "", err
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return 0, "", err //nolint:wrapcheck // classified by the caller
		}
		if n := resp.Header.Get("DPoP-Nonce"); n != "" {
			c.nonce.Store(&n)
		}
		if resp.StatusCode < http.StatusBadRequest {
			_, err = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode, "", errors.Join(err, resp.Body.Close())
		}
		const longest = 4 << 10
		body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return resp.StatusCode, "", err
		}
		demand := strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="use_dpop_nonce"`)
		if !demand || attempt > 0 {
			return resp.StatusCode, reasonIn(string(body)), nil
		}
	}
}

func (c *Caller) build(ctx context.Context, s sending, token client.Token) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, s.method, c.Resource+s.path, strings.NewReader(s.form))
	if err != nil {
		return nil, err //nolint:wrapcheck // a malformed path of the scenario
	}
	if s.form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if s.key != "" {
			req.Header.Set("Idempotency-Key", s.key)
		}
	} else {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
	}
	req.Header.Set("Authorization", token.Type+" "+token.Access.Reveal())
	if token.Type != "DPoP" {
		return req, nil
	}
	nonce := ""
	if n := c.nonce.Load(); n != nil {
		nonce = *n
	}
	path, _, _ := strings.Cut(s.path, "?")
	proof, err := c.Agent.Proof(s.method, c.Resource+path, token.Access, nonce)
	if err != nil {
		return nil, err //nolint:wrapcheck // an agentid.Error
	}
	req.Header.Set("DPoP", proof)
	return req, nil
}

// reasonIn finds the stable reason in a problem document or in an error of Stripe's shape.
func reasonIn(body string) string {
	for _, field := range []string{`"code":"`, `"reason":"`, `"code": "`, `"error":"`} {
		if _, rest, ok := strings.Cut(body, field); ok {
			reason, _, _ := strings.Cut(rest, `"`)
			return reason
		}
	}
	return "refused"
}

// failed is the outcome of what could not be carried out.
func failed(op string, err error) openloop.Outcome {
	if r, ok := errors.AsType[*client.Refusal](err); ok {
		return openloop.Outcome{Op: op, Class: "refused by the broker: " + r.Code}
	}
	if reason := agentid.ReasonOf(err); reason != "" && reason != "internal" {
		return openloop.Outcome{Op: op, Class: reason}
	}
	return openloop.Outcome{Op: op, Class: "no answer"}
}
