// Package challenge is what a protected resource tells a client about itself: the
// WWW-Authenticate challenges (RFC 6750, 9449, 9728), the metadata document (RFC 9728),
// and which credential a request presents. It verifies nothing.
package challenge

import (
	"net/http"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/wire"
)

// MetadataPath is where the metadata document lies (RFC 9728 section 3).
const MetadataPath = "/.well-known/oauth-protected-resource"

// ProofAlgorithms are the algorithms of DPoP proofs that are accepted.
var ProofAlgorithms = []string{"EdDSA", "ES256"}

// Scheme is how a token is presented. The zero Scheme is invalid.
type Scheme int

// The schemes.
const (
	_ Scheme = iota
	Bearer
	DPoP
)

// Credential is what a request presents, unverified.
type Credential struct {
	Scheme Scheme
	Token  agentid.Secret
	Proof  string // the DPoP header; empty: none
}

// Presented reads the one credential of r. Errors: KindUnauthenticated
// "credential_missing" or "credential_scheme"; KindInvalid "credential_repeated" for
// more than one (RFC 6750 section 2). A token in the query or a cookie is not one.
func Presented(r *http.Request) (Credential, error) {
	values := r.Header["Authorization"]
	if len(values) > 1 || len(r.Header["Dpop"]) > 1 || len(values) == 1 && strings.Contains(r.URL.RawQuery, "access_token=") {
		return Credential{}, agentid.Errorf(agentid.KindInvalid, "credential_repeated", "more than one credential is given").WithField("Authorization")
	}
	if len(values) == 0 {
		return Credential{}, agentid.Errorf(agentid.KindUnauthenticated, httperr.ReasonCredentialMissing, "no credential is given")
	}
	name, token, ok := strings.Cut(values[0], " ")
	if !ok || token == "" || strings.IndexByte(token, ' ') >= 0 || strings.IndexByte(token, '\t') >= 0 || strings.IndexByte(token, ',') >= 0 {
		return Credential{}, scheme()
	}
	c := Credential{Token: agentid.NewSecret(token)}
	switch strings.ToLower(name) { // RFC 9110 section 11.1: case-insensitive
	case "bearer":
		c.Scheme = Bearer
	case "dpop":
		c.Scheme = DPoP
	default:
		return Credential{}, scheme()
	}
	if proofs := r.Header["Dpop"]; len(proofs) == 1 {
		c.Proof = proofs[0]
	}
	return c, nil
}

func scheme() error {
	return agentid.Errorf(agentid.KindUnauthenticated, "credential_scheme", "want a token with the scheme DPoP or Bearer").WithField("Authorization")
}

// Set adds the challenges for err to the response. scopes are all that the refused
// operation needs.
func Set(h http.Header, c wire.Connector, scopes []string, err error) {
	for _, v := range httperr.Challenges(err, httperr.Protected{
		Metadata: c.Resource + MetadataPath, Scopes: scopes, DPoPAlgs: ProofAlgorithms, Bearer: c.AllowBearer,
	}) {
		h.Add("WWW-Authenticate", v)
	}
}

// metadata is RFC 9728 section 2; what has no value is left out.
type metadata struct {
	Resource             string   `json:"resource"`
	Name                 string   `json:"resource_name"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	DetailTypes          []string `json:"authorization_details_types_supported"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported"`
	ProofRequired        bool     `json:"dpop_bound_access_tokens_required,omitempty"`
}

// WriteMetadata answers the metadata document of a connector. issuers are its
// authorization servers.
func WriteMetadata(w http.ResponseWriter, c wire.Connector, k *connectors.Kind, issuers []string) error {
	m := metadata{
		Resource: c.Resource, Name: c.Ref.Name(), AuthorizationServers: issuers, BearerMethods: []string{"header"},
		DetailTypes: []string{capability.DetailType}, ProofAlgorithms: ProofAlgorithms, ProofRequired: !c.AllowBearer,
	}
	for _, o := range k.Operations() {
		m.ScopesSupported = append(m.ScopesSupported, o.Name)
	}
	return httpx.WriteJSON(w, http.StatusOK, m)
}
