package fleetcert

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
)

// Scheme is that of the URIs in certificates.
const Scheme = "agentid"

// MaxConnectors bounds the connectors that one certificate names.
const MaxConnectors = 200

// Role is which side of the internal API a certificate is for. The zero Role is none.
type Role int

// The roles.
const (
	RoleBroker Role = iota + 1
	RoleGateway
)

// Identity is the holder of a certificate. The zero Identity serves nothing.
type Identity struct {
	Cluster string
	Role    Role
	Name    string // of the gateway
	// Connectors are those that the gateway may serve; All: whatever there is.
	Connectors []agentid.Ref
	All        bool
}

// Serves reports whether the holder may serve a connector.
func (i Identity) Serves(connector agentid.Ref) bool {
	return i.Role == RoleGateway && !connector.IsZero() && (i.All || slices.Contains(i.Connectors, connector))
}

// ServesTenant reports whether a connector of the tenant may be among those served.
func (i Identity) ServesTenant(tenant string) bool {
	return i.Role == RoleGateway && tenant != "" &&
		(i.All || slices.ContainsFunc(i.Connectors, func(r agentid.Ref) bool { return r.Tenant() == tenant }))
}

// CheckName refuses what cannot name a cluster or a gateway: letters, digits, '-' and
// '_', at most 63 bytes.
func CheckName(field, name string) error {
	if _, err := agentid.TenantRef(name); err != nil || strings.Contains(name, "=") {
		return agentid.Invalidf(field, "want 1 to %d letters, digits, '-' and '_', beginning with a letter or a digit", agentid.MaxTenantLength)
	}
	return nil
}

// Of reads what a certificate of our own authority says. A certificate that names no
// holder, two, or something unreadable is an error.
func Of(cert *x509.Certificate) (Identity, error) {
	var id Identity
	for _, u := range cert.URIs {
		if u.Scheme != Scheme {
			continue
		}
		if err := id.read(u); err != nil {
			return Identity{}, err
		}
	}
	if id.Role == 0 {
		return Identity{}, errors.New("the certificate names neither a broker nor a gateway")
	}
	if id.Role == RoleBroker && (id.All || len(id.Connectors) > 0) {
		return Identity{}, errors.New("the certificate names a broker with connectors")
	}
	return id, nil
}

func (i *Identity) read(u *url.URL) error {
	if err := CheckName("cluster", u.Host); err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.RawPath != "" {
		return fmt.Errorf("the certificate's URI %q cannot be read", u.Redacted())
	}
	if i.Cluster != "" && i.Cluster != u.Host {
		return errors.New("the certificate names two clusters")
	}
	i.Cluster = u.Host
	parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	switch {
	case len(parts) == 1 && parts[0] == "broker" && i.Role == 0:
		i.Role = RoleBroker
	case len(parts) == 2 && parts[0] == "gateway" && i.Role == 0 && CheckName("gateway", parts[1]) == nil:
		i.Role, i.Name = RoleGateway, parts[1]
	case len(parts) == 1 && parts[0] == "connectors":
		i.All = true
	case len(parts) == 3 && parts[0] == "connector":
		ref, err := agentid.ConnectorRef(parts[1], parts[2])
		if err != nil || len(i.Connectors) == MaxConnectors {
			return fmt.Errorf("the certificate's URI %q names no connector, or one too many", u.Redacted())
		}
		i.Connectors = append(i.Connectors, ref)
	default:
		return fmt.Errorf("the certificate's URI %q cannot be read", u.Redacted())
	}
	return nil
}

// uris writes the identity into URIs.
func (i Identity) uris() []*url.URL {
	at := func(path string) *url.URL { return &url.URL{Scheme: Scheme, Host: i.Cluster, Path: path} }
	if i.Role == RoleBroker {
		return []*url.URL{at("/broker")}
	}
	out := []*url.URL{at("/gateway/" + i.Name)}
	if i.All {
		return append(out, at("/connectors"))
	}
	for _, c := range i.Connectors {
		out = append(out, at("/connector/"+c.ObjectID()))
	}
	return out
}

// Member is one gateway that the broker's configuration lists.
type Member struct {
	Name string
	// Certificate is a subject alternative name of its certificate, "dns:gw-1.example"
	// or "uri:spiffe://example/gw-1"; empty: the certificate is of our own authority.
	Certificate string
	Connectors  []agentid.Ref // with All false and none: what its certificate says
	All         bool
}

// Roster says which gateways a broker admits. Without Members it admits every one that
// the authority certified for the cluster.
type Roster struct {
	Cluster string
	Members []Member
}

// Identify finds the gateway behind a verified certificate, or says why there is none.
func (r Roster) Identify(cert *x509.Certificate) (Identity, error) {
	own, err := Of(cert)
	if len(r.Members) == 0 {
		return r.own(own, err)
	}
	for _, m := range r.Members {
		if !m.holds(cert, own) {
			continue
		}
		id := Identity{Cluster: r.Cluster, Role: RoleGateway, Name: m.Name, Connectors: m.Connectors, All: m.All}
		if m.Certificate != "" || m.All || len(m.Connectors) > 0 {
			return id, nil
		}
		return r.own(own, err)
	}
	return Identity{}, errors.New("the broker's fleet.gateways does not list this certificate")
}

func (r Roster) own(id Identity, err error) (Identity, error) {
	switch {
	case err != nil:
		return Identity{}, err
	case id.Role != RoleGateway:
		return Identity{}, errors.New("the certificate is not a gateway's")
	case id.Cluster != r.Cluster:
		return Identity{}, fmt.Errorf("the certificate is for cluster %q, this is %q", id.Cluster, r.Cluster)
	}
	return id, nil
}

func (m Member) holds(cert *x509.Certificate, own Identity) bool {
	kind, name, _ := strings.Cut(m.Certificate, ":")
	switch kind {
	case "":
		return own.Role == RoleGateway && own.Name == m.Name
	case "dns":
		return slices.Contains(cert.DNSNames, name)
	case "uri":
		return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == name })
	default:
		return false
	}
}
