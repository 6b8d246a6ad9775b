package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
)

// TokenRequest is what to ask a token for: template calls, capabilities, or both, or the
// authorization_details as they are sent.
type TokenRequest struct {
	Templates    []capability.TemplateCall
	Capabilities []capability.Capability
	// Details is a JSON array of capabilities or template calls (RFC 9396), in place of
	// Templates and Capabilities. In an exchange all three may be empty: as the parent's.
	Details  json.RawMessage
	Resource string // RFC 8707; may be empty where the details name one connector
	Bearer   bool   // ask for an unbound token, where the connector allows it
}

// Template asks for a capability by the name of a template and its arguments, which are
// strings and whole numbers.
func Template(name string, arguments map[string]any) TokenRequest {
	return TokenRequest{Templates: []capability.TemplateCall{{Template: name, Arguments: arguments}}}
}

// Capabilities asks for capabilities in full.
func Capabilities(capabilities ...capability.Capability) TokenRequest {
	return TokenRequest{Capabilities: capabilities}
}

// AuthorizationDetails is the parameter as it is sent (RFC 9396); nil for none. KindInvalid
// when Details stands beside what it replaces.
func (r TokenRequest) AuthorizationDetails() (json.RawMessage, error) {
	if len(r.Details) > 0 {
		if len(r.Templates)+len(r.Capabilities) > 0 {
			return nil, agentid.Invalidf("authorization_details", "give Details, or Templates and Capabilities")
		}
		return r.Details, nil
	}
	return entries(r.Templates, r.Capabilities)
}

// entries encodes template calls and capabilities as one array, nil for none.
func entries(templates []capability.TemplateCall, capabilities []capability.Capability) (json.RawMessage, error) {
	var all []any
	for _, t := range templates {
		arguments := t.Arguments
		if arguments == nil {
			arguments = map[string]any{}
		}
		all = append(all, struct {
			Type      string         `json:"type"`
			Template  string         `json:"template"`
			Arguments map[string]any `json:"arguments"`
		}{capability.TemplateType, t.Template, arguments})
	}
	for _, c := range capabilities {
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, agentid.Invalidf("authorization_details", "cannot be encoded").WithCause(err)
	}
	return data, nil
}

// Token is an issued token.
type Token struct {
	Access  agentid.Secret
	Type    string // "DPoP" or "Bearer"
	Expires time.Time
	Scope   string
	Details json.RawMessage // as granted
	// Audience is the connector's resource URI, as the token says; not verified. Empty: the
	// token is not a JWT.
	Audience string

	key string // id of the key that it is bound to
}

// Capabilities are what was granted.
func (t Token) Capabilities() ([]capability.Capability, error) {
	r, err := capability.ParseRequest(t.Details)
	return r.Capabilities, err //nolint:wrapcheck // an agentid.Error
}

// Mint gets a fresh token (RFC 6749 section 4.4). Errors: *Refusal when the broker says
// no; KindInvalid for a request that cannot be sent; KindUnavailable when the broker is
// not reached.
func (c *Client) Mint(ctx context.Context, req TokenRequest) (Token, error) {
	return c.issue(ctx, req, url.Values{"grant_type": {"client_credentials"}})
}

// Exchange makes a token of this agent from its parent's (RFC 8693): within the parent's
// capabilities and life, and for the same connector. An empty request asks for all that
// the parent's has. Errors as Mint's.
func (c *Client) Exchange(ctx context.Context, parent Token, req TokenRequest) (Token, error) {
	if parent.Access.IsZero() {
		return Token{}, agentid.Invalidf("subject_token", "there is no token to exchange")
	}
	return c.issue(ctx, req, url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {parent.Access.Reveal()},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	})
}

// Token types of what a person has an agent act by (RFC 8693 section 3).
const (
	PersonIDToken     = "urn:ietf:params:oauth:token-type:id_token"     //nolint:gosec // an identifier
	PersonAccessToken = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // an identifier
)

// OnBehalf gets a token by a token of the agent's own principal: an ID token or an access
// token of their identity provider, or of their sign-in at the broker. It lives no longer
// than that. Errors as Mint's.
func (c *Client) OnBehalf(ctx context.Context, person agentid.Secret, tokenType string, req TokenRequest) (Token, error) {
	if person.IsZero() {
		return Token{}, agentid.Invalidf("subject_token", "there is no token of a person")
	}
	return c.issue(ctx, req, url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {person.Reveal()},
		"subject_token_type": {tokenType},
	})
}

// Under gets a token under a standing delegation of the agent's principal, by its id:
// nobody is at the keyboard. An empty request asks for all that was delegated. Errors as
// Mint's.
func (c *Client) Under(ctx context.Context, delegation string, req TokenRequest) (Token, error) {
	if delegation == "" {
		return Token{}, agentid.Invalidf("subject_token", "there is no delegation")
	}
	return c.issue(ctx, req, url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {delegation},
		"subject_token_type": {"urn:agentid:params:oauth:token-type:delegation"},
	})
}

func (c *Client) issue(ctx context.Context, req TokenRequest, form url.Values) (Token, error) {
	details, err := req.AuthorizationDetails()
	if err != nil {
		return Token{}, err
	}
	if len(details) > 0 {
		form.Set("authorization_details", string(details))
	}
	if req.Resource != "" {
		form.Set("resource", req.Resource)
	}
	start, key := c.cfg.Now(), c.Key().ID()
	body, err := c.form(ctx, "/oauth2/token", form, !req.Bearer)
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
		Expires: start.Add(time.Duration(answer.ExpiresIn) * time.Second), Audience: audienceOf(answer.AccessToken), key: key,
	}, nil
}

// audienceOf reads the audience of a token that came from the broker itself.
func audienceOf(token string) string {
	audience, _ := read(token)
	return audience
}

// read reads audience and agent of a token that came from the broker itself.
func read(token string) (audience, agent string) {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Audience string `json:"aud"`
		ClientID string `json:"client_id"`
	}
	if err != nil || json.Unmarshal(data, &claims) != nil {
		return "", ""
	}
	return claims.Audience, claims.ClientID
}

// Revoke takes a token of this agent back (RFC 7009). It returns once that holds.
func (c *Client) Revoke(ctx context.Context, token agentid.Secret) error {
	_, err := c.form(ctx, "/oauth2/revoke", url.Values{"token": {token.Reveal()}}, false)
	return err
}
