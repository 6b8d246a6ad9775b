// Package agentproxy is the agent's side of AgentID: it runs beside the agent on
// loopback or a Unix socket, holds the agent's key and token, and forwards to the
// gateway whatever an SDK sends it, with the token and a fresh proof added.
//
// It owns the life of the token (minted ahead of expiry, one mint at a time), the
// proof per request and the gateway's nonce. The path, the query, the body and the
// Idempotency-Key pass byte for byte; the credential that the SDK sent never does. It
// decides nothing: a refusal of the broker or the gateway reaches the agent as it is.
//
// Whoever reaches the proxy's address acts as the agent. On a machine with other
// users, listen on a Unix socket (mode 0600), or set a local secret and give it to
// the SDK as its API key.
package agentproxy
