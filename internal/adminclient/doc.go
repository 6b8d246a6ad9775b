// Package adminclient calls a running AgentID as those who run it do: an administrator at
// the administrative API, a resource server at introspection.
//
// It owns their credentials on the way and the reading of streams. The agent's own side
// is the public package client; it knows no policy and holds nothing of the server's.
package adminclient
