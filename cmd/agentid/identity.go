package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/config"
)

// identity is an agent and what it asks for, as the flags of token and proxy say.
type identity struct {
	issuer, agent, key string
	template           string
	args               []string
	details, resource  string
}

func (i *identity) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&i.issuer, "issuer", env("AGENTID_ISSUER", ""), "the issuer; default http://127.0.0.1:7420/<tenant of the agent>")
	f.StringVar(&i.agent, "agent", env("AGENTID_AGENT", ""), "the agent, agent:tenant/name")
	f.StringVar(&i.key, "key", env("AGENTID_KEY", ""), "the agent's private JWK: a file of mode 0600, file:/path or env:NAME")
}

func (i *identity) requestFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&i.template, "template", "t", "", "name of a capability template")
	f.StringArrayVarP(&i.args, "arg", "a", nil, "argument of the template, name=value; repeatable")
	f.StringVar(&i.details, "details", "", "authorization_details as JSON, or @file; in place of --template")
	f.StringVar(&i.resource, "resource", "", "the connector's resource URI at the gateway")
}

// client makes the agent's side of the broker.
func (i *identity) client() (*client.Client, error) {
	ref, err := agentid.ParseRefAs(agentid.TypeAgent, i.agent)
	if err != nil {
		return nil, usagef("--agent: want agent:tenant/name")
	}
	key, err := loadKey(i.key)
	if err != nil {
		return nil, err
	}
	issuer := i.issuer
	if issuer == "" {
		issuer = config.DefaultBrokerURL + "/" + ref.Tenant()
	}
	return client.New(client.Config{Issuer: issuer, Agent: ref, Key: key}) //nolint:wrapcheck // names the field
}

// loadKey reads a key by path or by reference.
func loadKey(where string) (client.Key, error) {
	switch {
	case where == "":
		return client.Key{}, usagef("--key: name the agent's key")
	case strings.HasPrefix(where, "env:"), strings.HasPrefix(where, "file:"):
		ref, err := config.ParseReference(where)
		if err != nil {
			return client.Key{}, usageError{err}
		}
		text, err := ref.Read()
		if err != nil {
			return client.Key{}, err //nolint:wrapcheck // names the reference
		}
		return client.ParseKey(text) //nolint:wrapcheck // names the field
	default:
		return client.LoadKey(where) //nolint:wrapcheck // names the file
	}
}

// request is the token request that the flags describe.
func (i *identity) request() (client.TokenRequest, error) {
	req := client.TokenRequest{Resource: i.resource}
	switch {
	case i.template != "" && i.details != "":
		return req, usagef("give --template or --details, not both")
	case i.template != "":
		arguments, err := parseArguments(i.args)
		if err != nil {
			return req, err
		}
		call := []map[string]any{{"type": "agentid_template", "template": i.template, "arguments": arguments}}
		data, err := json.Marshal(call)
		if err != nil {
			return req, usageError{err}
		}
		req.Details = data
	case strings.HasPrefix(i.details, "@"):
		data, err := os.ReadFile(i.details[1:])
		if err != nil {
			return req, usageError{err}
		}
		req.Details = data
	case i.details != "":
		req.Details = json.RawMessage(i.details)
	default:
		return req, usagef("say what the token is for: --template NAME --arg name=value, or --details")
	}
	if !json.Valid(req.Details) {
		return req, usagef("--details: is not JSON")
	}
	return req, nil
}

// parseArguments reads name=value pairs: a whole number stays a number, the rest is text.
func parseArguments(pairs []string) (map[string]any, error) {
	out := map[string]any{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--arg %q: want name=value", pair)
		}
		if _, twice := out[name]; twice {
			return nil, usagef("--arg %s: given twice", name)
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			out[name] = n
			continue
		}
		out[name] = value
	}
	return out, nil
}
