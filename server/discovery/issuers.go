package discovery

import (
	"net/url"
	"strings"

	"github.com/agentid-dev/agentid"
)

// Paths of the endpoints below an issuer.
const (
	PathToken      = "/oauth2/token" //nolint:gosec // a path
	PathIntrospect = "/oauth2/introspect"
	PathRevoke     = "/oauth2/revoke"
	PathJWKS       = "/oauth2/jwks"
	PathAuthorize  = "/oauth2/authorize"
	PathDevice     = "/oauth2/device_authorization"
)

// Issuers composes and reads issuer identifiers: the base URL is the root issuer,
// and a tenant's is the base, a slash and the tenant. They are compared as strings,
// without any normalising (RFC 3986 section 6.2.1). The zero Issuers knows none.
type Issuers struct{ base string }

// NewIssuers takes the broker's public base URL: http or https, a host, no path, no
// query, no fragment, no user, no trailing slash.
func NewIssuers(base string) (Issuers, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil ||
		u.Scheme+"://"+u.Host != base || strings.ToLower(base) != base {
		return Issuers{}, agentid.Invalidf("issuer", "want scheme://host[:port] in lower case, without a path or a trailing slash")
	}
	return Issuers{base: base}, nil
}

// Root is the root issuer.
func (i Issuers) Root() string { return i.base }

// Of is the issuer of a tenant; the root issuer for "".
func (i Issuers) Of(tenant string) string {
	if tenant == "" {
		return i.base
	}
	return i.base + "/" + tenant
}

// Tenant reads an issuer identifier: the tenant of a tenant issuer, "" for the root
// issuer. ok is false for anything else. It says nothing about whether such a tenant
// exists.
func (i Issuers) Tenant(issuer string) (tenant string, ok bool) {
	if i.base == "" {
		return "", false
	}
	if issuer == i.base {
		return "", true
	}
	tenant, ok = strings.CutPrefix(issuer, i.base+"/")
	if !ok {
		return "", false
	}
	if _, err := agentid.TenantRef(tenant); err != nil {
		return "", false
	}
	return tenant, true
}
