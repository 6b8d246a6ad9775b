// Package oidc is people, as an OpenID Connect provider of their organisation knows them:
// discovery, the authorization code flow with PKCE against it, and the verification of its
// ID tokens, JWT access tokens (RFC 9068) and identity assertions (ID-JAG).
//
// It owns what such a token must say, and which claims become the person's subject, name
// and groups; an e-mail address counts only when the provider says that it is verified.
// Keys are federation/keyset's. Which principal a person is, and what groups give, is
// server/principals'.
package oidc
