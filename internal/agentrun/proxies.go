package agentrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/agentproxy"
	"github.com/agentid-dev/agentid/internal/httpx"
)

const (
	metadataPath = "/.well-known/oauth-protected-resource" // RFC 9728 section 3
	maxMetadata  = 64 << 10
	drainFor     = 2 * time.Second
)

// proxy is the way to one connector.
type proxy struct {
	name     string // of the connector
	kind     string
	url      string // on loopback
	resource string
	requests []client.TokenRequest
	source   *client.Source
	server   *http.Server
}

type proxies []*proxy

// proxies opens one proxy per connector that the requests are for. Each request is minted
// once: what policy refuses is known before the command starts.
func (c Config) proxies(ctx context.Context) (out proxies, err error) {
	defer func() {
		if err != nil {
			out.close(context.WithoutCancel(ctx))
		}
	}()
	for _, req := range c.Requests {
		source := c.Agent.Source(req)
		token, err := source.Token(ctx)
		if err != nil {
			return out, err //nolint:wrapcheck // a Refusal says it all
		}
		resource := token.Audience
		if resource == "" {
			return out, agentid.Invalidf("token", "the token does not say which connector it is for")
		}
		if i := slices.IndexFunc(out, func(p *proxy) bool { return p.resource == resource }); i >= 0 {
			out[i].requests = append(out[i].requests, req)
			continue
		}
		kind, _, _ := strings.Cut(token.Scope, ":")
		out = append(out, &proxy{kind: kind, resource: resource, requests: []client.TokenRequest{req}, source: source})
	}
	for _, p := range out {
		if p.name, err = c.nameOf(ctx, p.resource); err != nil {
			return out, err
		}
		if err := c.open(p); err != nil {
			return out, err
		}
	}
	return out, nil
}

// open serves one proxy on a free port of loopback.
func (c Config) open(p *proxy) error {
	req, err := joined(p.requests)
	if err != nil {
		return err
	}
	req.Resource = p.resource
	cfg := agentproxy.Config{
		Agent: c.Agent, Request: req, Source: p.source, Connect: c.Connect, LocalSecret: c.LocalSecret, PerEffect: c.PerEffect, Logger: c.Logger,
	}
	if len(p.requests) > 1 {
		cfg.Source = nil
	}
	handler, err := agentproxy.New(cfg)
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	listener, err := agentproxy.Listen("127.0.0.1:0")
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	p.url = "http://" + listener.Addr().String()
	p.server = httpx.NewServer("", handler, c.Logger)
	go func() { _ = p.server.Serve(listener) }() // ends with close
	return nil
}

// joined asks for all at once.
func joined(requests []client.TokenRequest) (client.TokenRequest, error) {
	if len(requests) == 1 {
		return requests[0], nil
	}
	var out client.TokenRequest
	for _, r := range requests {
		if len(r.Details) > 0 {
			return out, agentid.Invalidf("details", "ask for all of one connector in one request")
		}
		out.Templates = append(out.Templates, r.Templates...)
		out.Capabilities = append(out.Capabilities, r.Capabilities...)
	}
	return out, nil
}

// nameOf asks the gateway for the name of a connector.
func (c Config) nameOf(ctx context.Context, resource string) (string, error) {
	const timeout = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, resource+metadataPath, http.NoBody)
	if err != nil {
		return "", agentid.Invalidf("resource", "is not a URL").WithCause(err)
	}
	transport := agentproxy.Dial(c.Connect)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", agentid.Unavailable("gateway_unreachable", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var document struct {
		Resource string `json:"resource"`
		Name     string `json:"resource_name"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxMetadata)).Decode(&document)
	if err != nil || resp.StatusCode != http.StatusOK || document.Resource != resource || document.Name == "" {
		return "", agentid.Unavailable("gateway_unreachable", errors.Join(err, fmt.Errorf("%s%s does not describe the connector", resource, metadataPath)))
	}
	return document.Name, nil
}

func (p proxies) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainFor)
	defer cancel()
	for _, one := range p {
		if one.server != nil && one.server.Shutdown(ctx) != nil {
			_ = one.server.Close()
		}
	}
}
