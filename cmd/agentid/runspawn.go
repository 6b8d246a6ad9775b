package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
)

// spawned is an agent that a command is to be.
type spawned struct {
	agent    *client.Client
	requests []client.TokenRequest
	retire   func(context.Context) error
}

// spawn starts the agent: a child of --parent, or one of its own by an administrator.
func (l *launch) spawn(ctx context.Context) (spawned, error) {
	if l.typ == "" {
		return spawned{}, usagef("--type: name the agent's type")
	}
	if l.lifetime <= 0 {
		return spawned{}, usagef("--lifetime: must be positive")
	}
	if l.name == "" {
		l.name = "run-" + strings.ToLower(rand.Text()[:13])
	}
	if l.parent != "" {
		return l.child(ctx)
	}
	return l.register(ctx)
}

// child spawns by the parent's own key.
func (l *launch) child(ctx context.Context) (spawned, error) {
	if l.principal != "" {
		return spawned{}, usagef("--for: a child acts for its parent's principal")
	}
	if len(l.asks.requests()) == 0 {
		return spawned{}, usagef("say what the agent may ask for: --template NAME --arg name=value, or --details")
	}
	id := identity{issuer: l.issuer, agent: l.parent, key: l.key}
	if id.issuer == "" {
		ref, err := agentid.ParseRefAs(agentid.TypeAgent, l.parent)
		if err != nil {
			return spawned{}, usagef("--parent: want agent:tenant/name")
		}
		id.issuer = l.conn.server + "/" + ref.Tenant()
	}
	parent, err := id.client()
	if err != nil {
		return spawned{}, err
	}
	_, typ, err := within(agentid.TypeAgentType, parent.Agent().Tenant(), l.typ)
	if err != nil {
		return spawned{}, usagef("--type: %w", err)
	}
	ceiling, capabilities, err := l.asks.parts()
	if err != nil {
		return spawned{}, err
	}
	req := client.SpawnRequest{Type: typ, Name: l.name, CeilingTemplates: ceiling, Ceiling: capabilities, Lifetime: l.lifetime}
	agent, err := parent.Spawn(ctx, req)
	if refused, ok := errors.AsType[*client.Refusal](err); ok && l.lifetime == defaultRunLifetime && strings.HasPrefix(refused.Reason, "lifetime_exceeds") {
		req.Lifetime = 0 // as long as its parent and the limits allow, which is less
		agent, err = parent.Spawn(ctx, req)
	}
	if err != nil {
		return spawned{}, err //nolint:wrapcheck // a Refusal says it all
	}
	retire := func(ctx context.Context) error {
		_, err := parent.RetireChild(ctx, agent.Agent())
		return err //nolint:wrapcheck // a Refusal says it all
	}
	return spawned{agent, l.asks.requests(), retireItself(agent, retire)}, nil
}

// register starts an agent without a parent, as an administrator.
func (l *launch) register(ctx context.Context) (spawned, error) {
	tenant, typ, err := within(agentid.TypeAgentType, l.tenant, l.typ)
	if err != nil {
		return spawned{}, usagef("--type: %w", err)
	}
	settings, err := l.typeSettings(ctx, tenant, typ)
	if err != nil {
		return spawned{}, err
	}
	principal, err := l.owner(tenant, settings)
	if err != nil {
		return spawned{}, err
	}
	requests := l.asks.requests()
	if len(requests) == 0 {
		if len(settings.Ceiling) == 0 {
			return spawned{}, usagef("say what the agent may ask for: --template NAME --arg name=value, or --details; its type has no ceiling to go by")
		}
		requests = []client.TokenRequest{{Details: settings.Ceiling}}
	}
	agent, path, err := l.newAgent(tenant)
	if err != nil {
		return spawned{}, err
	}
	admin := func(ctx context.Context) error {
		return l.conn.call(ctx, http.MethodPost, path+"/retire", object{}, nil)
	}
	out := spawned{agent, requests, retireItself(agent, admin)}
	err = l.conn.call(ctx, http.MethodPut, path, object{
		"type": typ, "principal": principal, "key": agent.Key().Public(), "expires": time.Now().Add(l.bounded(settings)).UTC().Truncate(time.Second),
	}, nil)
	if err != nil {
		return out, l.undo(ctx, err, admin)
	}
	if ceiling, err := l.asks.ceiling(); err != nil || ceiling != nil {
		if err == nil {
			err = l.conn.call(ctx, http.MethodPut, path+"/ceiling", object{"ceiling": ceiling}, nil)
		}
		if err != nil {
			return out, errors.Join(err, admin(context.WithoutCancel(ctx)))
		}
	}
	return out, nil
}

// undo retires an agent of which it is not known whether it is there.
func (l *launch) undo(ctx context.Context, err error, retire func(context.Context) error) error {
	if _, refused := errors.AsType[*client.Refusal](err); !refused {
		_ = retire(context.WithoutCancel(ctx)) // the broker that does not answer is told already
	}
	return err
}

// typeSettings is what run needs to know of an agent type.
type typeSettings struct {
	Launchers  []string        `json:"launchers"`
	MaxSeconds int64           `json:"max_lifetime_seconds"`
	Ceiling    json.RawMessage `json:"ceiling"`
}

func (l *launch) typeSettings(ctx context.Context, tenant, name string) (out typeSettings, err error) {
	path := "/tenants/" + url.PathEscape(tenant) + "/agent-types/" + url.PathEscape(name)
	return out, l.conn.call(ctx, http.MethodGet, path, nil, &out)
}

// owner is the principal's name.
func (l *launch) owner(tenant string, settings typeSettings) (string, error) {
	if l.principal == "" {
		if len(settings.Launchers) != 1 {
			return "", usagef("--for: name the principal; the type has %d launchers", len(settings.Launchers))
		}
		return settings.Launchers[0], nil
	}
	of, name, err := within(agentid.TypePrincipal, tenant, l.principal)
	if err != nil || of != tenant {
		return "", usagef("--for: want a principal of tenant %s", tenant)
	}
	return name, nil
}

// bounded is the lifetime; where none was chosen, the type's when that is less.
func (l *launch) bounded(settings typeSettings) time.Duration {
	if most := time.Duration(settings.MaxSeconds) * time.Second; l.lifetime == defaultRunLifetime && most > 0 && most < l.lifetime {
		return most
	}
	return l.lifetime
}

// newAgent is an agent with a fresh key, and its path in the administrative API.
func (l *launch) newAgent(tenant string) (*client.Client, string, error) {
	ref, err := agentid.AgentRef(tenant, l.name)
	if err != nil {
		return nil, "", usagef("--name: %w", err)
	}
	key, err := client.GenerateKey("EdDSA")
	if err != nil {
		return nil, "", err //nolint:wrapcheck // names the field
	}
	issuer := l.issuer
	if issuer == "" {
		issuer = l.conn.server + "/" + tenant
	}
	agent, err := client.New(client.Config{Issuer: issuer, Agent: ref, Key: key})
	return agent, "/tenants/" + url.PathEscape(tenant) + "/agents/" + url.PathEscape(l.name), err //nolint:wrapcheck // names the field
}

// within reads a name of a tenant, or a ref.
func within(typ, tenant, text string) (of, name string, err error) {
	if strings.Contains(text, ":") {
		ref, err := agentid.ParseRefAs(typ, text)
		if err == nil && tenant != "" && ref.Tenant() != tenant {
			return "", "", usagef("belongs to another tenant than %s", tenant)
		}
		return ref.Tenant(), ref.Name(), err //nolint:wrapcheck // names the field
	}
	if tenant == "" {
		return "", "", usagef("name the tenant: --tenant, or %s:tenant/name", typ)
	}
	return tenant, text, nil
}
