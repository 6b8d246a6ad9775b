package admin

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

// LoginClient is a program that people sign in to: a public client with PKCE.
type LoginClient struct {
	Header
	Display      string   `json:"display,omitempty"`
	RedirectURIs []string `json:"redirect_uris"` // compared byte by byte
}

func (c *LoginClient) name() (agentid.Ref, error) {
	return named(agentid.ResourceRef(KindLoginClient, c.Tenant, c.Name))
}

func (c *LoginClient) check(ctx context.Context, w *world) error {
	if _, err := c.name(); err != nil {
		return err
	}
	if c.Name == ledger.LoginCLI {
		return agentid.Invalidf("name", "is the command line's own")
	}
	for i, uri := range c.RedirectURIs {
		if err := checkRedirect(uri); err != nil || slices.Index(c.RedirectURIs, uri) != i {
			return agentid.Invalidf(fmt.Sprintf("redirect_uris[%d]", i), "want https, or http on a loopback address, each once, without user, fragment, dot segments and wildcards")
		}
	}
	if len(c.RedirectURIs) == 0 {
		return agentid.Invalidf("redirect_uris", "want at least one")
	}
	return w.tenant(ctx, c.Tenant)
}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-]+(\.[A-Za-z0-9_~-]+)*)*/?$`)

// checkRedirect admits a URI that browsers and servers read in one way only.
func checkRedirect(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || u.Fragment != "" || strings.ContainsAny(uri, `#@\*`) || u.Host == "" || u.Opaque != "" || u.String() != uri || !plainPath.MatchString(u.EscapedPath()) {
		return agentid.Invalidf("redirect_uris", "is malformed")
	}
	address, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && err == nil && address.IsLoopback() {
		return nil
	}
	return agentid.Invalidf("redirect_uris", "is neither https nor http on loopback")
}

func (c *LoginClient) current(ctx context.Context, s *Service) (object, error) {
	have, err := s.cfg.Ledger.LoginClient(ctx, c.Tenant, c.Name)
	if err != nil {
		return nil, absent(err)
	}
	return loginClientOf(have), nil
}

func loginClientOf(c ledger.LoginClient) *LoginClient {
	return &LoginClient{Header: Header{Kind: KindLoginClient, Tenant: c.Tenant, Name: c.Name}, Display: c.Display, RedirectURIs: c.RedirectURIs}
}

// edges: a client is in the ledger only.
func (c *LoginClient) edges(context.Context, *Service) (edges, error) { return edges{}, nil }

func (c *LoginClient) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	_, changed, err := s.cfg.Ledger.PutLoginClient(ctx, ledger.LoginClient{Tenant: c.Tenant, Name: c.Name, Display: c.Display, RedirectURIs: c.RedirectURIs}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
