package agentproxy

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/config"
)

// DefaultMaxReplay is the largest body, in bytes, that is kept so that the request
// can be sent again when the gateway asks for a nonce.
const DefaultMaxReplay = 1 << 20

// Config says what a Proxy forwards, and as whom.
type Config struct {
	Agent   *client.Client
	Request client.TokenRequest // what to ask tokens for; Resource is required: it is where requests go
	Source  *client.Source      // where tokens come from; nil: a Source of Request
	Connect string              // host:port to dial in place of the resource's own; empty: the resource's

	LocalSecret agentid.Secret // when set, the SDK must send it as its API key (Bearer, or Basic user)
	PerEffect   bool           // a fresh token for each request other than GET and HEAD: for templates with uses: 1
	MaxReplay   int64          // bytes; 0: DefaultMaxReplay
	// Minted, when set, is told of each new token, to show what was granted.
	Minted func(client.Token)

	Transport http.RoundTripper // nil: a transport of its own
	Logger    *slog.Logger
}

// Proxy is the http.Handler that an SDK's base URL points at.
type Proxy struct {
	resource  *url.URL
	secret    agentid.Secret
	maxReplay int64
	transport *client.Transport
	logger    *slog.Logger
}

// New checks the config.
func New(cfg Config) (*Proxy, error) {
	resource, err := url.Parse(cfg.Request.Resource)
	if err != nil || resource.Host == "" || (resource.Scheme != "http" && resource.Scheme != "https") || resource.Path != "" {
		return nil, agentid.Invalidf("resource", "want the connector's resource URI, scheme://host[:port]")
	}
	if resource.Scheme == "http" && !config.IsLoopback(resource.Hostname()) {
		return nil, agentid.Invalidf("resource", "must be https; http is for loopback only")
	}
	if cfg.Agent == nil || cfg.Logger == nil {
		return nil, agentid.Invalidf("agent", "a proxy needs an agent and a logger")
	}
	if cfg.MaxReplay <= 0 {
		cfg.MaxReplay = DefaultMaxReplay
	}
	if cfg.Transport == nil {
		cfg.Transport = Dial(cfg.Connect)
	}
	if cfg.Source == nil {
		cfg.Source = cfg.Agent.Source(cfg.Request)
	}
	if cfg.Minted != nil {
		cfg.Source.Minted = cfg.Minted
	}
	return &Proxy{
		resource: resource, secret: cfg.LocalSecret, maxReplay: cfg.MaxReplay, logger: cfg.Logger,
		transport: &client.Transport{Source: cfg.Source, Base: cfg.Transport, PerEffect: cfg.PerEffect},
	}, nil
}

// Dial is a transport that never follows a proxy of the environment, compresses nothing,
// and dials connect (host:port) where it is given.
func Dial(connect string) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if connect != "" {
				addr = connect
			}
			return dialer.DialContext(ctx, network, addr)
		},
		DisableCompression: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 60 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	}
}

// admit refuses callers that are not the agent: a browser page that was pointed at
// this port, and, where a local secret is set, anything that does not send it.
func (p *Proxy) admit(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		host = h
	}
	local := r.Context().Value(http.LocalAddrContextKey)
	if _, unix := local.(*net.UnixAddr); !unix && !config.IsLoopback(strings.Trim(host, "[]")) {
		return agentid.Errorf(agentid.KindForbidden, "proxy_host", "the proxy answers to loopback names only")
	}
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return agentid.Errorf(agentid.KindForbidden, "proxy_browser", "the proxy does not serve browsers")
	}
	if p.secret.IsZero() {
		return nil
	}
	presented, ok := bearer(r.Header.Get("Authorization"))
	if !ok {
		presented, _, _ = r.BasicAuth()
	}
	if subtle.ConstantTimeCompare([]byte(presented), []byte(p.secret.Reveal())) != 1 {
		return agentid.Errorf(agentid.KindUnauthenticated, "proxy_secret", "the proxy's local secret is needed as the API key")
	}
	return nil
}

func bearer(header string) (string, bool) {
	scheme, value, ok := strings.Cut(header, " ")
	return value, ok && strings.EqualFold(scheme, "bearer")
}
