// Package discovery publishes what a client needs to find and trust the broker: the
// authorization server metadata (RFC 8414), for the root issuer and for each tenant's,
// and the key set (RFC 7517).
//
// It owns issuer identifiers and the documents. Which keys exist is the signer's; which
// tenants exist is the ledger's.
package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/internal/httpx"
)

// JWKSMaxAge is how long a verifier may keep the key set. A staged key is published at
// least this long before it signs.
const JWKSMaxAge = 5 * time.Minute

// The grants of the token endpoint.
const (
	// GrantClientCredentials is RFC 6749 section 4.4: an agent, on its own key.
	GrantClientCredentials = "client_credentials"
	// GrantTokenExchange is RFC 8693: a child, from its parent's token.
	GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" //nolint:gosec // an identifier
	// GrantAuthorizationCode is RFC 6749 section 4.1: a person, by a browser.
	GrantAuthorizationCode = "authorization_code"
	// GrantRefreshToken is RFC 6749 section 6: a person's session goes on.
	GrantRefreshToken = "refresh_token"
	// GrantDeviceCode is RFC 8628: a person, by a browser on another machine.
	GrantDeviceCode = "urn:ietf:params:oauth:grant-type:device_code"
	// GrantJWTBearer is RFC 7523 section 2.1: a workload, with what its platform says of it,
	// or an agent, with an identity assertion of its person (ID-JAG).
	GrantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // an identifier
)

// The client authentication of workloads by an SVID (draft-ietf-oauth-spiffe-client-auth).
const (
	MethodSPIFFE     = "spiffe_jwt"
	MethodSPIFFEX509 = "spiffe_x509"
)

// ForPeople reports whether a grant gives tokens to people rather than to agents.
func ForPeople(grant string) bool {
	return grant == GrantAuthorizationCode || grant == GrantRefreshToken || grant == GrantDeviceCode
}

// ParamTenant is the chi URL parameter that holds the tenant.
const ParamTenant = "tenant"

// Tenants says which tenants exist. Nil: it does. An error is rendered as it is:
// KindNotFound hides the tenant, KindUnavailable is an outage.
type Tenants interface {
	TenantExists(ctx context.Context, tenant string) error
}

// Keys is the published key set: staged, active and recently retired keys.
type Keys interface {
	JWKS() jose.JSONWebKeySet
}

// Config configures New. Every field but People is required.
type Config struct {
	Issuers Issuers
	People  People // nil: none come in
	Tenants Tenants
	Keys    Keys
	// Scopes are the operations that a token can be asked for.
	Scopes []string
	// DetailTypes are the authorization_details types (RFC 9396 section 10).
	DetailTypes []string
	// ClientAlgorithms sign client assertions; ProofAlgorithms sign DPoP proofs.
	ClientAlgorithms, ProofAlgorithms []string
}

// Documents serves metadata and keys.
type Documents struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Documents, error) {
	switch {
	case cfg.Issuers.Root() == "":
		return nil, errors.New("discovery: no issuer")
	case cfg.Tenants == nil || cfg.Keys == nil:
		return nil, errors.New("discovery: tenants and keys are required")
	case len(cfg.ClientAlgorithms) == 0 || len(cfg.ProofAlgorithms) == 0 || len(cfg.DetailTypes) == 0:
		return nil, errors.New("discovery: algorithms and detail types are required")
	}
	cfg.Scopes = slices.Sorted(slices.Values(cfg.Scopes))
	return &Documents{cfg: cfg}, nil
}

// Offers says how people come in at a tenant's issuer. The zero Offers: not at all, as at
// the root issuer, which has no people.
type Offers struct {
	Login  bool // by a browser: authorization endpoint
	Device bool // by a browser on another machine
}

// People says what a tenant offers to people. An error is an outage.
type People interface {
	Offers(ctx context.Context, tenant string) (Offers, error)
}

// metadata is RFC 8414 section 2 with RFC 8628, 9207, 9396, 9449 and 9701's members. Where
// no people come in there is no authorization endpoint, and response_types is empty.
type metadata struct {
	Issuer                    string   `json:"issuer"`
	TokenEndpoint             string   `json:"token_endpoint"`
	JWKSURI                   string   `json:"jwks_uri"`
	IntrospectionEndpoint     string   `json:"introspection_endpoint"`
	RevocationEndpoint        string   `json:"revocation_endpoint"`
	AuthorizationEndpoint     string   `json:"authorization_endpoint,omitempty"`
	DeviceEndpoint            string   `json:"device_authorization_endpoint,omitempty"`
	ResponseTypes             []string `json:"response_types_supported"`
	ResponseModes             []string `json:"response_modes_supported,omitempty"`
	CodeChallengeMethods      []string `json:"code_challenge_methods_supported,omitempty"`
	SendsIssuer               bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	GrantTypes                []string `json:"grant_types_supported"`
	Scopes                    []string `json:"scopes_supported,omitempty"`
	TokenAuthMethods          []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgorithms       []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgs     []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	IntrospectionSigningAlgs  []string `json:"introspection_signing_alg_values_supported"`
	RevocationAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgorithms  []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	AuthorizationDetailsTypes []string `json:"authorization_details_types_supported"`
	DPoPAlgorithms            []string `json:"dpop_signing_alg_values_supported"`
	CertificateBoundTokens    bool     `json:"tls_client_certificate_bound_access_tokens"`
	ServiceDocumentation      string   `json:"service_documentation"`
}

func (d *Documents) metadata(tenant string, offers Offers) metadata {
	issuer := d.cfg.Issuers.Of(tenant)
	m := metadata{
		Issuer:                    issuer,
		TokenEndpoint:             issuer + PathToken,
		JWKSURI:                   issuer + PathJWKS,
		IntrospectionEndpoint:     issuer + PathIntrospect,
		RevocationEndpoint:        issuer + PathRevoke,
		ResponseTypes:             []string{},
		GrantTypes:                []string{GrantClientCredentials, GrantTokenExchange},
		Scopes:                    d.cfg.Scopes,
		TokenAuthMethods:          []string{"private_key_jwt"},
		CertificateBoundTokens:    true,
		TokenAuthAlgorithms:       d.cfg.ClientAlgorithms,
		IntrospectionAuthMethods:  []string{"client_secret_basic", "private_key_jwt"},
		IntrospectionAuthAlgs:     d.cfg.ClientAlgorithms,
		IntrospectionSigningAlgs:  d.signingAlgorithms(),
		RevocationAuthMethods:     []string{"private_key_jwt"},
		RevocationAuthAlgorithms:  d.cfg.ClientAlgorithms,
		AuthorizationDetailsTypes: d.cfg.DetailTypes,
		DPoPAlgorithms:            d.cfg.ProofAlgorithms,
		ServiceDocumentation:      "https://agentid.dev/docs",
	}
	if tenant != "" { // workloads come in at their tenant
		m.GrantTypes = append(m.GrantTypes, GrantJWTBearer)
		m.TokenAuthMethods = append(m.TokenAuthMethods, MethodSPIFFE, MethodSPIFFEX509)
	}
	m.offer(offers)
	return m
}

// offer adds how people come in.
func (m *metadata) offer(offers Offers) {
	if offers.Login {
		m.AuthorizationEndpoint = m.Issuer + PathAuthorize
		m.ResponseTypes, m.ResponseModes, m.CodeChallengeMethods = []string{"code"}, []string{"query"}, []string{"S256"}
		m.SendsIssuer = true
		m.GrantTypes = append(m.GrantTypes, GrantAuthorizationCode)
	}
	if offers.Device {
		m.DeviceEndpoint = m.Issuer + PathDevice
		m.GrantTypes = append(m.GrantTypes, GrantDeviceCode)
	}
	if offers.Login || offers.Device {
		m.GrantTypes = append(m.GrantTypes, GrantRefreshToken)
		m.TokenAuthMethods = append(m.TokenAuthMethods, "none")
	}
}

// signingAlgorithms are those of the published keys, so that a verifier which pins
// them does not trip over a rotation to another algorithm.
func (d *Documents) signingAlgorithms() []string {
	var algs []string
	for _, k := range d.cfg.Keys.JWKS().Keys {
		if !slices.Contains(algs, k.Algorithm) {
			algs = append(algs, k.Algorithm)
		}
	}
	slices.Sort(algs)
	return algs
}

// Metadata handles the well-known paths; the tenant is chi's parameter, absent at the
// root.
func (d *Documents) Metadata(w http.ResponseWriter, r *http.Request) error {
	tenant, err := d.tenant(r)
	if err != nil {
		return err
	}
	var offers Offers
	if tenant != "" && d.cfg.People != nil {
		if offers, err = d.cfg.People.Offers(r.Context(), tenant); err != nil {
			return err
		}
	}
	body, err := json.Marshal(d.metadata(tenant, offers))
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	return cacheable(w, "application/json", body)
}

// JWKS handles the key set, the same for every tenant.
func (d *Documents) JWKS(w http.ResponseWriter, r *http.Request) error {
	if _, err := d.tenant(r); err != nil {
		return err
	}
	body, err := json.Marshal(d.cfg.Keys.JWKS())
	if err != nil {
		return fmt.Errorf("encode key set: %w", err)
	}
	return cacheable(w, "application/jwk-set+json", body)
}

func (d *Documents) tenant(r *http.Request) (string, error) {
	tenant := chi.URLParam(r, ParamTenant)
	if tenant == "" {
		return "", nil
	}
	return tenant, d.cfg.Tenants.TenantExists(r.Context(), tenant)
}

func cacheable(w http.ResponseWriter, contentType string, body []byte) error {
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(JWKSMaxAge/time.Second)))
	_ = httpx.WriteBytes(w, http.StatusOK, contentType, body) // the peer is gone: nobody to tell
	return nil
}
