// Package client is the agent's side of AgentID for programs in Go: it authenticates
// with the agent's own key, gets capability tokens and keeps them fresh, adds token and
// proof to requests, and spawns child agents.
//
// A child's key is made in the process and never leaves it. Every method is safe for
// concurrent use. The package decides nothing: a refusal of the broker comes back as a
// *Refusal with its stable reason, one of the gateway as the response that it is.
//
// For programs in other languages, or with an SDK that takes a base URL only, "agentid
// proxy" and "agentid run" do the same from outside.
package client
