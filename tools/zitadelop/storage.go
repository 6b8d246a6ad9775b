package main

import (
	"context"
	"crypto/rsa"
	"errors"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// provider is the example's storage with our users' groups and signing keys.
type provider struct {
	*storage.Storage
	groups map[string][]string // of a user by subject
	keys   []key               // the first one signs
}

func newStorage(c config) (*provider, error) {
	clients := map[string]*storage.Client{}
	for _, client := range c.Clients {
		clients[client.ID] = storage.WebClient(client.ID, client.Secret, client.Redirects...)
	}
	known := users{}
	p := &provider{Storage: storage.NewStorageWithClients(known, clients), groups: map[string][]string{}}
	for _, u := range c.Users {
		known[u.Subject] = &storage.User{
			ID: u.Subject, Username: u.Username, Password: u.Password, FirstName: u.Username,
			Email: u.Email, EmailVerified: u.EmailVerified,
		}
		p.groups[u.Subject] = u.Groups
	}
	for _, k := range c.Keys.Keys {
		if _, ok := k.Key.(*rsa.PrivateKey); !ok {
			return nil, errors.New("jwks: only RSA private keys")
		}
		p.keys = append(p.keys, key{k})
	}
	if len(p.keys) == 0 {
		return nil, errors.New("jwks: no key")
	}
	return p, nil
}

func (p *provider) SigningKey(context.Context) (op.SigningKey, error) {
	return signingKey{p.keys[0]}, nil
}

func (p *provider) KeySet(context.Context) ([]op.Key, error) {
	var out []op.Key
	for _, k := range p.keys {
		out = append(out, publicKey{k})
	}
	return out, nil
}

// SetUserinfoFromRequest adds the groups to an ID token, when the client asked for them.
func (p *provider) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	if err := p.Storage.SetUserinfoFromRequest(ctx, info, token, scopes); err != nil {
		return err
	}
	for _, s := range scopes {
		if s == "groups" {
			info.AppendClaims("groups", p.groups[token.GetSubject()])
		}
	}
	return nil
}

// GetPrivateClaimsFromScopes adds the groups to a JWT access token.
func (p *provider) GetPrivateClaimsFromScopes(_ context.Context, subject, _ string, _ []string) (map[string]any, error) {
	return map[string]any{"groups": p.groups[subject]}, nil
}

func (p *provider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := p.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{c}, nil
}

// client is one of the example's with JWT access tokens, all claims in the ID token, and
// the device flow.
type client struct{ op.Client }

func (client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeJWT }
func (client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (client) IsScopeAllowed(scope string) bool     { return scope == "groups" }
func (c client) GrantTypes() []oidc.GrantType {
	return append(c.Client.GrantTypes(), oidc.GrantTypeDeviceCode)
}

type users map[string]*storage.User

func (u users) ExampleClientID() string             { return storage.ServiceUserID }
func (u users) GetUserByID(id string) *storage.User { return u[id] }
func (u users) GetUserByUsername(n string) *storage.User {
	for _, one := range u {
		if one.Username == n {
			return one
		}
	}
	return nil
}

type key struct{ jwk jose.JSONWebKey }

func (k key) ID() string { return k.jwk.KeyID }

type signingKey struct{ key }

func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k signingKey) Key() any                                    { return k.jwk.Key }

type publicKey struct{ key }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return k.jwk.Public().Key }
