package oidc

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/egress"
)

// Kind is the kind of this source.
const Kind = "oidc"

// The claims that are read where a provider's mapping names none.
const (
	DefaultSubject = "sub"
	DefaultGroups  = "groups"
	DefaultName    = "name"
)

// Config configures New. Issuer and ClientID are required.
type Config struct {
	Issuer    string // byte for byte as in its documents and tokens
	ClientID  string // ours, there
	Secret    agentid.Secret
	Audiences []string // accepted beside ClientID in tokens that are presented
	Scopes    []string // asked for beside openid
	// Claims that hold the subject, the groups and the display name. A flat name: the
	// members of a nested object follow after a dot.
	SubjectClaim, GroupsClaim, NameClaim string
	MaxStale                             time.Duration // of keys; keyset.DefaultMaxStale when zero
	AllowPrivate                         bool          // loopback and private addresses, http on loopback
	Now                                  func() time.Time
}

// Provider is one provider whose discovery document was read. It is safe for concurrent
// use.
type Provider struct {
	cfg      Config
	client   *http.Client
	keys     *keyset.Set
	provider *oidc.Provider // userinfo
	code     oauth2.Config  // without a redirect URI
	sendsIss bool           // authorization_response_iss_parameter_supported
}

// New checks cfg and reads the discovery document. KindInvalid names the field that no
// provider could have; KindUpstream keyset.ReasonUnreachable, ReasonDiffers and
// ReasonDocument say what is wrong with the provider's answer.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if cfg.ClientID == "" {
		return nil, agentid.Invalidf("client_id", "must not be empty")
	}
	if _, err := egress.ParseURL(cfg.Issuer, cfg.AllowPrivate); err != nil {
		return nil, agentid.Invalidf("issuer", "%s", err.Error())
	}
	cfg.SubjectClaim, cfg.GroupsClaim = orDefault(cfg.SubjectClaim, DefaultSubject), orDefault(cfg.GroupsClaim, DefaultGroups)
	cfg.NameClaim = orDefault(cfg.NameClaim, DefaultName)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Provider{cfg: cfg, client: egress.Client(egress.Config{AllowPrivate: cfg.AllowPrivate, MaxBytes: keyset.MaxBytes})}
	meta, err := keyset.Discover(ctx, p.client, cfg.Issuer)
	if err != nil {
		return nil, err
	}
	if p.keys, err = keyset.New(keyset.Config{Issuer: cfg.Issuer, Client: p.client, MaxStale: cfg.MaxStale, Now: cfg.Now}); err != nil {
		return nil, err
	}
	return p, p.endpoints(ctx, meta)
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// endpoints reads the rest of the discovery document.
func (p *Provider) endpoints(ctx context.Context, meta keyset.Metadata) error {
	text := func(name string) string {
		value, _ := meta.Document.Get(name).Text()
		return value
	}
	authorize, token, userinfo := text("authorization_endpoint"), text("token_endpoint"), text("userinfo_endpoint")
	for name, url := range map[string]string{"authorization_endpoint": authorize, "token_endpoint": token, "userinfo_endpoint": userinfo, "jwks_uri": meta.KeysURL} {
		if url == "" && name != "jwks_uri" {
			continue
		}
		if _, err := egress.ParseURL(url, p.cfg.AllowPrivate); err != nil {
			return agentid.Errorf(agentid.KindUpstream, keyset.ReasonDocument, "%s of the discovery document: %s", name, err.Error())
		}
	}
	p.sendsIss, _ = meta.Document.Get("authorization_response_iss_parameter_supported").Flag()
	p.code = oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.Secret.Reveal(), Scopes: append([]string{oidc.ScopeOpenID}, p.cfg.Scopes...),
		Endpoint: oauth2.Endpoint{AuthURL: authorize, TokenURL: token, AuthStyle: p.authStyle(meta)},
	}
	known := oidc.ProviderConfig{IssuerURL: p.cfg.Issuer, AuthURL: authorize, TokenURL: token, UserInfoURL: userinfo, JWKSURL: meta.KeysURL}
	p.provider = known.NewProvider(p.with(ctx))
	return nil
}

// authStyle is how we authenticate at the token endpoint. It is never tried out: a code
// that was sent once is used up.
func (p *Provider) authStyle(meta keyset.Metadata) oauth2.AuthStyle {
	var methods []string
	items, _ := meta.Document.Get("token_endpoint_auth_methods_supported").Items()
	for _, item := range items {
		method, _ := item.Text()
		methods = append(methods, method)
	}
	if p.cfg.Secret.IsZero() || slices.Contains(methods, "client_secret_post") && !slices.Contains(methods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// CanLogin reports whether the provider has what the authorization code flow needs.
func (p *Provider) CanLogin() bool {
	return p.code.Endpoint.AuthURL != "" && p.code.Endpoint.TokenURL != ""
}

// with makes go-oidc and oauth2 use our client, which refuses private addresses.
func (p *Provider) with(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// Kind implements federation.Source.
func (p *Provider) Kind() string { return Kind }

// Issuer implements federation.Source.
func (p *Provider) Issuer() string { return p.cfg.Issuer }
