// Package delegation is how a person has agents act for them: by a token of theirs that an
// agent brings (RFC 8693), by an identity assertion (ID-JAG), or by a standing delegation
// that needs nobody at the keyboard.
//
// It owns standing delegations, from the grant to the taking back; the endpoints of people
// about themselves (/people/v1); and what the token endpoint has to know of a person before
// it mints: who they are, that they may launch agents of that type, that the delegation
// stands. That what is delegated is theirs, policy decides in the mint. Verifying a token of
// an identity provider is federation/oidc's.
package delegation
