// Package idp runs OpenID providers that others wrote, on loopback: npm oidc-provider,
// and the example provider of github.com/zitadel/oidc. Tests federate from them.
//
// It owns their processes and what they know: users, clients, signing keys. Keys roll,
// users change groups, and a provider stops and comes back at the same address. It is for
// tests only.
package idp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// User is a person at a provider.
type User struct {
	Subject       string   `json:"sub"`
	Username      string   `json:"preferred_username"`
	Password      string   `json:"password"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups"`
}

// Alice has a verified e-mail address and is in two groups.
func Alice() User {
	return User{
		Subject: "u-alice", Username: "alice", Password: "correct horse", Name: "Alice",
		Email: "alice@acme.example", EmailVerified: true, Groups: []string{"support", "refunders"},
	}
}

// Mallory claims an e-mail address that nobody verified, and is in one group.
func Mallory() User {
	return User{
		Subject: "u-mallory", Username: "mallory", Password: "battery staple", Name: "Mallory",
		Email: "alice@acme.example", Groups: []string{"support"},
	}
}

// Client is a confidential client of a provider. It may use the code and the device flow.
type Client struct {
	ID        string
	Secret    string
	Redirects []string // exact; http only to loopback
}

// Config is what a provider knows.
type Config struct {
	Users     []User   // nil: Alice and Mallory
	Clients   []Client // at least one
	Resources []string // oidc-provider: audiences that a JWT access token can be asked for
}

// Kind is which provider. The zero value is none.
type Kind int

// The providers.
const (
	OIDCProvider Kind = iota + 1 // npm oidc-provider: certified, PKCE always required, issuer without a slash
	Zitadel                      // zitadel/oidc's example: issuer ends in a slash
)

func (k Kind) String() string {
	switch k {
	case OIDCProvider:
		return "oidc-provider"
	case Zitadel:
		return "zitadel"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// Provider is one running, or stopped, provider. It is not safe for concurrent use.
type Provider struct {
	Issuer string // exactly as its documents say it
	Users  []User
	kind   Kind
	config Config
	keys   []jose.JSONWebKey // the first one signs
	rolls  int
	port   int
	proc   *process // nil while it is stopped
}

// Start runs a provider of a kind until the test ends.
func Start(t testing.TB, kind Kind, c Config) *Provider {
	t.Helper()
	p, err := Launch(kind, c)
	if err != nil {
		t.Fatalf("start %s: %v", kind, err)
	}
	t.Cleanup(p.Close)
	return p
}

// Launch runs a provider of a kind until Close, for tests that share one.
func Launch(kind Kind, c Config) (*Provider, error) {
	if c.Users == nil {
		c.Users = []User{Alice(), Mallory()}
	}
	p := &Provider{kind: kind, config: c, Users: c.Users}
	if err := p.newKey(); err != nil {
		return nil, err
	}
	return p, p.up()
}

// Close ends the process. A closed provider refuses connections, as in an outage; Resume
// brings it back.
func (p *Provider) Close() {
	if p.proc != nil {
		p.proc.end()
		p.proc = nil
	}
}

// Resume starts a closed provider again: same address, users, clients and keys. Sessions
// are gone.
func (p *Provider) Resume() error {
	if p.proc != nil {
		return nil
	}
	return p.up()
}

// RollKeys makes the provider sign with a new key. The old one is gone from its JWKS
// unless keep is true.
func (p *Provider) RollKeys(keep bool) error {
	old := p.keys
	p.keys = nil
	if err := p.newKey(); err != nil {
		return err
	}
	if keep {
		p.keys = append(p.keys, old...)
	}
	return p.tell()
}

// SetUsers replaces the people.
func (p *Provider) SetUsers(users ...User) error {
	p.config.Users, p.Users = users, users
	return p.tell()
}

// SetClients replaces the clients.
func (p *Provider) SetClients(clients ...Client) error {
	p.config.Clients = slices.Clone(clients)
	return p.tell()
}

func (p *Provider) newKey() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	p.rolls++
	p.keys = append(p.keys, jose.JSONWebKey{
		Key: private, KeyID: fmt.Sprintf("key-%d", p.rolls), Algorithm: string(jose.RS256), Use: "sig",
	})
	return nil
}

func (p *Provider) up() error {
	proc, err := launch(context.Background(), p.kind)
	if err != nil {
		return err
	}
	p.proc = proc
	if err := p.tell(); err != nil {
		p.Close()
		return err
	}
	return nil
}

// tell sends the whole configuration and waits until it is in force.
func (p *Provider) tell() error {
	clients := []map[string]any{}
	for _, c := range p.config.Clients {
		doc := map[string]any{"client_id": c.ID, "client_secret": c.Secret, "redirect_uris": c.Redirects}
		if p.kind == OIDCProvider {
			doc["grant_types"] = []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"}
		}
		clients = append(clients, doc)
	}
	resources := p.config.Resources
	if resources == nil {
		resources = []string{}
	}
	line, err := json.Marshal(map[string]any{
		"port": p.port, "jwks": jose.JSONWebKeySet{Keys: p.keys}, "alg": string(jose.RS256),
		"users": p.config.Users, "clients": clients, "resources": resources,
	})
	if err != nil {
		return err
	}
	answer, err := p.proc.ask(line)
	if err != nil {
		return err
	}
	p.Issuer, p.port = answer.Issuer, answer.Port
	return nil
}
