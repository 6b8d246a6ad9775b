package adminclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client/refusal"
)

// Service is a resource server that asks about tokens: client_secret_basic.
type Service struct {
	Issuer string // "https://id.example.com/acme"
	ID     string // "connector:acme/stripe"
	Secret agentid.Secret
	HTTP   *http.Client // nil: http.DefaultClient
}

// Introspect asks about a token (RFC 7662). The answer is the document as sent; a
// token that is not good is {"active":false}, not an error.
func (s Service) Introspect(ctx context.Context, token agentid.Secret) (json.RawMessage, error) {
	form := url.Values{"token": {token.Reveal()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Issuer+"/oauth2/introspect", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(s.ID), url.QueryEscape(s.Secret.Reveal())) // RFC 6749 section 2.3.1
	answer, err := refusal.Do(orDefault(s.HTTP), req)
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, refusal.Read(answer.Status, answer.Body)
	}
	return answer.Body, nil
}

// Admin calls the administrative API.
type Admin struct {
	Base  string // "https://id.example.com"
	Token agentid.Secret
	HTTP  *http.Client // nil: a client with a timeout of 60 s
}

// AdminFromFile is Admin with the credential from a file of mode 0600.
func AdminFromFile(base, path string) (Admin, error) {
	token, err := readTrimmed(path)
	if err != nil {
		return Admin{}, err
	}
	return Admin{Base: base, Token: token}, nil
}

// Call sends in (nil: no body) as JSON and reads the answer into out (nil: ignored).
// path begins below /admin/v1. Errors: *Refusal, or a failure to reach the broker.
func (a Admin) Call(ctx context.Context, method, path string, in, out any) error {
	req, err := a.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	c := a.HTTP
	if c == nil {
		c = &http.Client{Timeout: 60 * time.Second}
	}
	answer, err := refusal.Do(c, req)
	if err != nil {
		return err
	}
	if answer.Status >= http.StatusBadRequest {
		return refusal.Read(answer.Status, answer.Body)
	}
	if out == nil || len(answer.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return fmt.Errorf("the broker's answer: %w", err)
	}
	return nil
}

// Stream calls each with every line of a stream of JSON documents, until it ends or
// ctx does. An error of each ends it.
func (a Admin) Stream(ctx context.Context, path string, each func(json.RawMessage) error) error {
	req, err := a.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	resp, err := orDefault(a.HTTP).Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return agentid.Unavailable("broker_unreachable", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusBadRequest {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, refusal.MaxAnswer))
		return refusal.Read(resp.StatusCode, body)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, refusal.MaxAnswer)
	for lines.Scan() {
		if data := bytes.TrimSpace(lines.Bytes()); len(data) > 0 {
			if err := each(data); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return agentid.Unavailable("broker_unreachable", err)
	}
	return nil
}

func (a Admin) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.Base+"/admin/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token.Reveal())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func orDefault(c *http.Client) *http.Client {
	if c == nil {
		return http.DefaultClient
	}
	return c
}

// readTrimmed reads a secret from a file that only its owner may read.
func readTrimmed(path string) (agentid.Secret, error) {
	const othersMayRead = 0o077
	info, err := os.Stat(path)
	if err != nil {
		return agentid.Secret{}, fmt.Errorf("credential file: %w", err)
	}
	if info.Mode().Perm()&othersMayRead != 0 {
		return agentid.Secret{}, agentid.Invalidf("credential", "%s: must be readable by its owner only (chmod 600)", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return agentid.Secret{}, fmt.Errorf("credential file: %w", err)
	}
	return agentid.NewSecret(strings.TrimSpace(string(data))), nil
}
