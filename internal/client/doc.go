// Package client speaks to a running AgentID from outside: it mints, introspects and
// revokes tokens at the broker, and calls the administrative API.
//
// It owns the agent's side of private_key_jwt and DPoP, the agent's key file, and the
// reading of refusals. It knows no policy and holds nothing of the server's.
package client
