package client

import "github.com/agentid-dev/agentid/client"

// The agent's side, under the names that callers of both sides use.
type (
	Agent        = client.Client
	AgentConfig  = client.Config
	TokenRequest = client.TokenRequest
	Token        = client.Token
	Key          = client.Key
	Refusal      = client.Refusal
)

// NewAgent is client.New.
func NewAgent(cfg AgentConfig) (*Agent, error) { return client.New(cfg) }

// GenerateKey is client.GenerateKey.
func GenerateKey(algorithm string) (Key, error) { return client.GenerateKey(algorithm) }

// ParseKey is client.ParseKey.
var ParseKey = client.ParseKey

// LoadKey is client.LoadKey.
var LoadKey = client.LoadKey
