// Package peopleclient is the command line's side of a person: signing in at a tenant's
// issuer, by a browser on this machine (RFC 8252) or on another one (RFC 8628), the session
// that stays in a file of mode 0600, and the calls that are made with it.
//
// It owns the session file and its refreshing: a refresh token is used once, so programs
// that share the file take turns. It holds nothing of an administrator or an agent.
package peopleclient
