package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/jwtsource"
	"github.com/agentid-dev/agentid/federation/keyset"
)

// Kind is the source's kind.
const Kind = "spiffe"

// The bounds of an id (SPIFFE-ID section 2.3), in bytes.
const (
	maxID     = 2048
	maxDomain = 255
)

// algorithms are those of JWT-SVIDs (JWT-SVID section 3.1): no EdDSA, no HMAC.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
}

// Config configures New. TrustDomain and Fetch are required; the rest is keyset.Config's.
type Config struct {
	TrustDomain string // "prod.example"
	Fetch       Fetch
	Keys        keyset.Config // its times, clock and logger; the ways to keys are not looked at
}

// Source verifies SVIDs of one trust domain. It implements federation.Source.
type Source struct {
	domain spiffeid.TrustDomain
	held   *held
	keys   *keyset.Set
	now    func() time.Time
}

// New makes a source. Nothing is fetched yet.
func New(cfg Config) (*Source, error) {
	domain, err := ParseTrustDomain(cfg.TrustDomain)
	if err != nil {
		return nil, err
	}
	if cfg.Fetch == nil {
		return nil, errors.New("spiffe: a way to the bundle is required")
	}
	s := &Source{domain: domain, held: &held{domain: domain, fetch: cfg.Fetch}, now: cfg.Keys.Now}
	if s.now == nil {
		s.now = time.Now
	}
	k := cfg.Keys
	k.Issuer, k.URL, k.Static, k.Fetch, k.AllowEmpty = "", "", nil, s.held.refresh, true
	s.keys, err = keyset.New(k)
	return s, err
}

// ParseTrustDomain reads the bare name of a trust domain: KindInvalid.
func ParseTrustDomain(name string) (spiffeid.TrustDomain, error) {
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil || strings.ContainsAny(name, ":/") || len(name) > maxDomain {
		return spiffeid.TrustDomain{}, agentid.Invalidf("trust_domain", "want the name of a trust domain in lower case, such as prod.example").WithCause(err)
	}
	return domain, nil
}

// ParseID reads a SPIFFE id of a workload: lower-case trust domain, a path without empty
// or dot segments and without encoding, at most 2,048 bytes.
func ParseID(text string) (spiffeid.ID, error) {
	if len(text) > maxID {
		return spiffeid.ID{}, errors.New("the SPIFFE id is longer than 2048 bytes")
	}
	id, err := spiffeid.FromString(text)
	switch {
	case err != nil:
		return spiffeid.ID{}, err
	case len(id.TrustDomain().Name()) > maxDomain:
		return spiffeid.ID{}, errors.New("the trust domain is longer than 255 bytes")
	case id.Path() == "":
		return spiffeid.ID{}, errors.New("the SPIFFE id names a trust domain, not a workload")
	}
	return id, nil
}

// Issuer is the name of a trust domain as the issuer of identities.
func Issuer(domain spiffeid.TrustDomain) string { return "spiffe://" + domain.Name() }

// Kind implements federation.Source.
func (s *Source) Kind() string { return Kind }

// Issuer implements federation.Source: "spiffe://" and the trust domain.
func (s *Source) Issuer() string { return Issuer(s.domain) }

// Refresh fetches the bundle, if that is due. The error is for whoever configures it.
func (s *Source) Refresh(ctx context.Context) error { return s.keys.Refresh(ctx) }

// Verify implements federation.Source: of a JWT-SVID where there is a token, else of the
// certificates of the TLS connection.
func (s *Source) Verify(ctx context.Context, p federation.Presented) (federation.Identity, *federation.Trace, error) {
	t := new(federation.Trace)
	verify := s.token
	if p.Token == "" {
		verify = s.certificate
	}
	id, err := verify(ctx, p, t)
	return id, t, err
}

func (s *Source) token(ctx context.Context, p federation.Presented, t *federation.Trace) (federation.Identity, error) {
	verified, err := jwtsource.VerifySignature(ctx, s.keys, p.Token, jws.Policy{
		Types: []string{"", "JWT", "JOSE"}, Algorithms: algorithms, MaxBytes: keyset.MaxToken, RequireKeyID: true, Bare: true,
	}, t)
	if err != nil {
		return federation.Identity{}, err
	}
	c := verified.Claims
	subject, _ := c.Get("sub").Text()
	id, err := s.member(subject, t)
	if err != nil {
		return federation.Identity{}, err
	}
	out := s.identity(id)
	if out.Audience, err = jwtsource.SoleAudience(c, p.Audiences, t); err != nil {
		return federation.Identity{}, err
	}
	if out.Issued, out.Expires, err = jwtsource.Times(c, p.Now, jwtsource.DefaultMaxLifetime, t); err != nil {
		return federation.Identity{}, err
	}
	flat, err := federation.Flatten(c)
	if err != nil {
		return federation.Identity{}, t.Fail(federation.StepClaims, federation.Refuse(keyset.ReasonMalformed, "", "the claims are ambiguous", err))
	}
	for name, value := range out.Claims { // what the id says goes before what a claim says
		flat[name] = value
	}
	out.Claims = flat
	t.Pass(federation.StepClaims, "sub "+out.Subject)
	return out, nil
}

// member reads an id and demands that it is of this trust domain.
func (s *Source) member(text string, t *federation.Trace) (spiffeid.ID, error) {
	id, err := ParseID(text)
	if err == nil && !id.MemberOf(s.domain) {
		err = errors.New("the id is of another trust domain")
	}
	if err != nil {
		return id, t.Fail(federation.StepIssuer, federation.Refuse(federation.ReasonClaim, "sub", "is not a SPIFFE id of a workload of this trust domain", err))
	}
	t.Pass(federation.StepIssuer, s.Issuer())
	return id, nil
}

func (s *Source) identity(id spiffeid.ID) federation.Identity {
	return federation.Identity{
		Source: Kind, Issuer: s.Issuer(), Subject: id.String(),
		Claims: federation.Claims{"sub": id.String(), "trust_domain": s.domain.Name(), "path": id.Path()},
	}
}

// certificate verifies an X.509-SVID, with an authority that is new to us if it takes one.
// Possession of its key was shown in the TLS handshake.
func (s *Source) certificate(ctx context.Context, p federation.Presented, t *federation.Trace) (federation.Identity, error) {
	if len(p.Certificates) == 0 {
		return federation.Identity{}, t.Fail(federation.StepToken, federation.Refuse(keyset.ReasonMalformed, "", "neither a token nor a certificate", nil))
	}
	leaf := p.Certificates[0]
	if len(leaf.URIs) != 1 {
		return federation.Identity{}, t.Fail(federation.StepToken, federation.Refuse(federation.ReasonClaim, "uri_san", "a certificate has exactly one URI", nil))
	}
	t.Pass(federation.StepToken, "an X.509 certificate")
	id, err := s.member(leaf.URIs[0].String(), t)
	if err != nil {
		return federation.Identity{}, err
	}
	if _, err := s.keys.Serving(ctx); err != nil {
		return federation.Identity{}, t.Fail(federation.StepKey, err)
	}
	err = s.chain(p)
	if err != nil && s.keys.Refresh(ctx) == nil {
		err = s.chain(p)
	}
	if err != nil {
		return federation.Identity{}, t.Fail(federation.StepSignature, federation.Refuse(keyset.ReasonSignature, "", "the certificate is not of this trust domain's authorities", err))
	}
	t.Pass(federation.StepSignature, "")
	out := s.identity(id)
	out.Issued, out.Expires = leaf.NotBefore, leaf.NotAfter
	t.Pass(federation.StepTime, "until "+out.Expires.UTC().Format(time.RFC3339))
	t.Pass(federation.StepClaims, "sub "+out.Subject)
	return out, nil
}

func (s *Source) chain(p federation.Presented) error {
	bundle := x509bundle.FromX509Authorities(s.domain, s.held.authorities())
	id, _, err := x509svid.Verify(p.Certificates, bundle, x509svid.WithTime(p.Now))
	if err != nil {
		return err
	}
	if p.Certificates[0].KeyUsage&x509.KeyUsageDigitalSignature == 0 || !id.MemberOf(s.domain) {
		return errors.New("the certificate is not for signatures")
	}
	return nil
}
