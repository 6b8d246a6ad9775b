// Package sources knows the constructors of all sources of workload identity: which kinds
// there are, what a setting of each must say, and how it becomes a federation.Source.
//
// It owns no verification and keeps nothing: what it makes is kept by whoever asked.
package sources

import (
	"context"
	"crypto/x509"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/aws"
	"github.com/agentid-dev/agentid/federation/azure"
	"github.com/agentid-dev/agentid/federation/gcp"
	"github.com/agentid-dev/agentid/federation/genericoidc"
	"github.com/agentid-dev/agentid/federation/github"
	"github.com/agentid-dev/agentid/federation/jwtsource"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/kubernetes"
	"github.com/agentid-dev/agentid/federation/spiffe"
	"github.com/agentid-dev/agentid/internal/egress"
)

// Setting is a workload issuer as it is configured.
type Setting struct {
	Kind   string
	Issuer string // of SPIFFE "spiffe://" and the trust domain
	// Where keys come from: at most one. None: the issuer's discovery document.
	KeysURL     string
	Keys        []byte
	BundleURL   string // SPIFFE
	BundleFile  string // SPIFFE
	WorkloadAPI string // SPIFFE
	Endpoint    string // aws_caller: where STS is asked instead

	AllowPrivate bool
	MaxStale     time.Duration
}

// Environment is what all sources share.
type Environment struct {
	Now     func() time.Time
	Logger  *slog.Logger
	RootCAs *x509.CertPool // the system's when nil
}

// kind is one constructor.
type kind struct {
	check func(s Setting) error
	make  func(s Setting, e Environment) (federation.Source, error)
	rule  func(s Setting) func(audience string, r federation.Requirements) error
}

// builtin is the one list of kinds.
func builtin() map[string]kind {
	plain := func(p jwtsource.Profile) kind {
		return ofProfile(func(Setting) jwtsource.Profile { return p })
	}
	return map[string]kind{
		kubernetes.Kind:  plain(kubernetes.Profile()),
		github.Kind:      plain(github.Profile()),
		gcp.Kind:         plain(gcp.Profile()),
		genericoidc.Kind: plain(genericoidc.Profile()),
		aws.Kind:         plain(aws.Profile()),
		azure.Kind:       ofProfile(func(s Setting) jwtsource.Profile { return azure.Profile(s.Issuer) }),
		aws.KindCaller:   {check: checkCaller, make: makeCaller, rule: callerRule},
		spiffe.Kind:      {check: checkSPIFFE, make: makeSPIFFE, rule: spiffeRule},
	}
}

// Kinds are the names of all kinds, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(builtin())) }

// Check judges a setting without asking anybody: KindInvalid, naming the field.
func Check(s Setting) error {
	k, ok := builtin()[s.Kind]
	if !ok {
		return agentid.Invalidf("type", "want one of %s", strings.Join(Kinds(), ", "))
	}
	if s.MaxStale < 0 || s.MaxStale > 30*24*time.Hour {
		return agentid.Invalidf("max_stale_seconds", "want 0 to 30 days")
	}
	return k.check(s)
}

// CheckRule judges what a rule demands of the issuer's identities: KindInvalid, naming the
// field.
func CheckRule(s Setting, audience string, r federation.Requirements) error {
	k, ok := builtin()[s.Kind]
	if !ok {
		return agentid.Invalidf("issuer", "is of an unknown kind")
	}
	return k.rule(s)(audience, r)
}

// New makes the source of a setting that passed Check.
func New(s Setting, e Environment) (federation.Source, error) {
	if err := Check(s); err != nil {
		return nil, err
	}
	return builtin()[s.Kind].make(s, e)
}

func client(s Setting, e Environment, most int64) *http.Client {
	return egress.Client(egress.Config{AllowPrivate: s.AllowPrivate, MaxBytes: most, RootCAs: e.RootCAs})
}

func keyConfig(s Setting, e Environment) keyset.Config {
	return keyset.Config{Now: e.Now, Logger: e.Logger, MaxStale: s.MaxStale, Client: client(s, e, keyset.MaxBytes)}
}

// ofProfile is a kind of tokens that jwtsource verifies.
func ofProfile(profile func(Setting) jwtsource.Profile) kind {
	return kind{
		check: func(s Setting) error {
			if s.BundleURL != "" || s.BundleFile != "" || s.WorkloadAPI != "" || s.Endpoint != "" {
				return agentid.Invalidf("type", "%s takes jwks_uri, jwks or neither, and no bundle or endpoint", s.Kind)
			}
			if s.KeysURL != "" && s.Keys != nil {
				return agentid.Invalidf("jwks", "is given together with jwks_uri")
			}
			if s.KeysURL != "" {
				if _, err := egress.ParseURL(s.KeysURL, s.AllowPrivate); err != nil {
					return agentid.Invalidf("jwks_uri", "%s", err.Error())
				}
			}
			if s.Keys != nil { // nothing is fetched from the issuer: it may be a cluster's own name
				if _, err := keyset.New(keyset.Config{Static: s.Keys}); err != nil {
					return agentid.Invalidf("jwks", "%s", err.Error())
				}
				return profile(s).ValidateIssuer(s.Issuer, true)
			}
			return profile(s).ValidateIssuer(s.Issuer, s.AllowPrivate)
		},
		make: func(s Setting, e Environment) (federation.Source, error) {
			c := keyConfig(s, e)
			switch {
			case s.Keys != nil:
				c.Static = s.Keys
			case s.KeysURL != "":
				c.URL = s.KeysURL
			default:
				c.Issuer = s.Issuer
			}
			keys, err := keyset.New(c)
			if err != nil {
				return nil, err
			}
			source, err := jwtsource.New(profile(s), s.Issuer, keys)
			if err != nil {
				return nil, err
			}
			return refreshing{source, keys}, nil
		},
		rule: func(s Setting) func(string, federation.Requirements) error { return profile(s).CheckRule },
	}
}

// refreshing lets whoever adds an issuer fetch its keys at once.
type refreshing struct {
	*jwtsource.Source
	*keyset.Set
}

// Verify is the source's, not the key set's.
func (r refreshing) Verify(ctx context.Context, p federation.Presented) (federation.Identity, *federation.Trace, error) {
	return r.Source.Verify(ctx, p)
}

func checkCaller(s Setting) error {
	if s.KeysURL != "" || s.Keys != nil || s.BundleURL != "" || s.BundleFile != "" || s.WorkloadAPI != "" {
		return agentid.Invalidf("type", "%s takes an issuer and an endpoint, and no keys", s.Kind)
	}
	if s.Endpoint != "" {
		if _, err := egress.ParseURL(s.Endpoint, s.AllowPrivate); err != nil {
			return agentid.Invalidf("endpoint", "%s", err.Error())
		}
	}
	_, err := aws.CheckCallerIssuer(s.Issuer)
	return err
}

func makeCaller(s Setting, e Environment) (federation.Source, error) {
	return aws.NewCaller(aws.CallerConfig{Issuer: s.Issuer, Endpoint: s.Endpoint, Client: client(s, e, 64<<10)})
}

func callerRule(Setting) func(string, federation.Requirements) error {
	return jwtsource.Profile{Kind: aws.KindCaller, Binding: []string{"role_id", "sub"}}.CheckRule
}

func spiffeRule(Setting) func(string, federation.Requirements) error {
	return jwtsource.Profile{Kind: spiffe.Kind, Binding: []string{"sub", "path"}}.CheckRule
}

func checkSPIFFE(s Setting) error {
	name, ok := strings.CutPrefix(s.Issuer, "spiffe://")
	if !ok {
		return agentid.Invalidf("issuer", "want spiffe:// and the trust domain")
	}
	if _, err := spiffe.ParseTrustDomain(name); err != nil {
		return agentid.AsError(err).WithField("issuer")
	}
	ways := 0
	for _, given := range []string{s.BundleURL, s.BundleFile, s.WorkloadAPI} {
		if given != "" {
			ways++
		}
	}
	if ways != 1 || s.KeysURL != "" || s.Keys != nil || s.Endpoint != "" {
		return agentid.Invalidf("type", "spiffe takes exactly one of bundle_url, bundle_file and workload_api")
	}
	if s.BundleURL != "" {
		if _, err := egress.ParseURL(s.BundleURL, s.AllowPrivate); err != nil {
			return agentid.Invalidf("bundle_url", "%s", err.Error())
		}
	}
	if s.WorkloadAPI != "" && !strings.HasPrefix(s.WorkloadAPI, "unix:///") && !strings.HasPrefix(s.WorkloadAPI, "tcp://127.0.0.1:") {
		return agentid.Invalidf("workload_api", "want unix:///path, or tcp on loopback")
	}
	return nil
}

func makeSPIFFE(s Setting, e Environment) (federation.Source, error) {
	fetch := spiffe.File(s.BundleFile)
	switch {
	case s.BundleURL != "":
		fetch = spiffe.Endpoint(client(s, e, 1<<20), s.BundleURL)
	case s.WorkloadAPI != "":
		fetch = spiffe.WorkloadAPI(s.WorkloadAPI)
	}
	return spiffe.New(spiffe.Config{TrustDomain: strings.TrimPrefix(s.Issuer, "spiffe://"), Fetch: fetch, Keys: keyConfig(s, e)})
}

// Hints are the issuers that a token may be of, the likeliest first, before anything is
// verified: to choose the source with and for nothing else. A token whose subject is a
// SPIFFE id may be of that id's trust domain, whatever iss says; a presigned request is of
// the host that it is for.
func Hints(token string) []string {
	if rest, ok := strings.CutPrefix(token, "https://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		return []string{"https://" + host}
	}
	issuer, subject := unverified(token)
	var out []string
	if id, err := spiffeid.FromString(subject); err == nil {
		out = append(out, spiffe.Issuer(id.TrustDomain()))
	}
	if issuer != "" {
		out = append(out, issuer)
	}
	return out
}

// CertificateHint is the issuer that a certificate may be of, "" when it names none.
func CertificateHint(leaf *x509.Certificate) string {
	if leaf == nil || len(leaf.URIs) == 0 {
		return ""
	}
	id, err := spiffeid.FromURI(leaf.URIs[0])
	if err != nil {
		return ""
	}
	return spiffe.Issuer(id.TrustDomain())
}
