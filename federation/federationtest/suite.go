package federationtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/egress"
)

// Audience is ours in the suite.
const Audience = "https://broker.example/acme"

// Now is the time in the suite.
var Now = time.Unix(1_790_000_000, 0)

// Subject is a source that takes JWTs, as the suite tests it.
type Subject struct {
	// New makes the source for an issuer, with these keys.
	New func(t *testing.T, issuer *Issuer) federation.Source
	// Claims are those of a good token beside iss, aud, exp, iat and nbf, which the suite
	// sets; sub among them.
	Claims map[string]any
	// Required are the claims that a token must have, besides exp and aud.
	Required []string
	// Algorithm signs; RS256 when empty.
	Algorithm jose.SignatureAlgorithm
	// Unnamed: the token names no issuer, as a JWT-SVID.
	Unnamed bool
}

// Keys are an issuer's keys, as sources of the suite use them.
func Keys(t *testing.T, issuer *Issuer) *keyset.Set {
	t.Helper()
	keys, err := keyset.New(KeyConfig(t, issuer))
	require.NoError(t, err)
	return keys
}

// KeyConfig is Keys' configuration.
func KeyConfig(t *testing.T, issuer *Issuer) keyset.Config {
	t.Helper()
	client := egress.Client(egress.Config{AllowPrivate: true, Timeout: time.Second})
	t.Cleanup(client.CloseIdleConnections)
	return keyset.Config{Issuer: issuer.URL(), Client: client, Now: func() time.Time { return Now }}
}

// Good are the claims of a good token of the issuer.
func (s Subject) Good(issuer *Issuer) map[string]any {
	c := map[string]any{"aud": Audience, "iat": Now.Unix(), "nbf": Now.Unix(), "exp": Now.Add(5 * time.Minute).Unix()}
	if !s.Unnamed {
		c["iss"] = issuer.URL()
	}
	maps.Copy(c, s.Claims)
	return c
}

// Present is what the suite presents of a token.
func Present(token string) federation.Presented {
	return federation.Presented{Token: token, Audiences: []string{Audience, Audience + "/oauth2/token"}, Now: Now}
}

// Run is the conformance suite of sources that take JWTs: what is good is taken, and each
// thing that is wrong is refused with its own reason.
func Run(t *testing.T, s Subject) {
	t.Helper()
	if s.Algorithm == "" {
		s.Algorithm = jose.RS256
	}
	issuer := NewIssuer(t)
	issuer.Roll(s.Algorithm)
	source := s.New(t, issuer)
	require.NotEmpty(t, source.Kind())
	require.NotEmpty(t, source.Issuer())
	s.accepts(t, issuer, source)
	for _, c := range s.refusals(t, issuer) {
		t.Run(c.name, func(t *testing.T) {
			id, trace, err := source.Verify(t.Context(), Present(c.token))
			require.Error(t, err)
			require.Equal(t, federation.Identity{}, id)
			e := agentid.AsError(err)
			require.Equal(t, agentid.KindUnauthenticated, e.Kind, "%v", err)
			require.Contains(t, c.reasons, e.Reason, "%v", err)
			require.NotEmpty(t, trace.Failed())
		})
	}
	s.outage(t)
}

func (s Subject) accepts(t *testing.T, issuer *Issuer, source federation.Source) {
	t.Run("a good token", func(t *testing.T) {
		id, trace, err := source.Verify(t.Context(), Present(issuer.Sign(s.Good(issuer))))
		require.NoError(t, err)
		require.Empty(t, trace.Failed())
		require.Equal(t, source.Kind(), id.Source)
		require.Equal(t, source.Issuer(), id.Issuer)
		require.Equal(t, s.Claims["sub"], id.Subject)
		require.Equal(t, Audience, id.Audience)
		require.Equal(t, Now.Add(5*time.Minute).Unix(), id.Expires.Unix())
		sub, _ := id.Claims.Text("sub")
		require.Equal(t, id.Subject, sub)
	})
	t.Run("aud as an array of one", func(t *testing.T) {
		c := s.Good(issuer)
		c["aud"] = []string{Audience}
		_, _, err := source.Verify(t.Context(), Present(issuer.Sign(c)))
		require.NoError(t, err)
	})
	t.Run("nothing is ours", func(t *testing.T) {
		_, _, err := source.Verify(t.Context(), federation.Presented{Token: issuer.Sign(s.Good(issuer)), Now: Now})
		require.Equal(t, federation.ReasonAudience, agentid.ReasonOf(err))
	})
}

type refusal struct {
	name    string
	token   string
	reasons []string
}

func (s Subject) refusals(t *testing.T, issuer *Issuer) []refusal {
	good := s.Good(issuer)
	signed := issuer.Sign(good)
	parts := strings.Split(signed, ".")
	stranger := NewKey(t, s.Algorithm)
	forged := stranger
	forged.KeyID = issuer.Key().KeyID
	malformed, claim := []string{keyset.ReasonMalformed}, []string{federation.ReasonClaim}
	audience, expired := []string{federation.ReasonAudience}, []string{federation.ReasonExpired}
	with := func(name string, value any) string { return issuer.Sign(changed(good, name, value)) }
	header := func(h map[string]any) string { return Sign(t, issuer.Key(), h, good) }
	out := []refusal{
		{"an unknown key", Sign(t, stranger, nil, good), []string{keyset.ReasonKey}},
		{"another key under a known kid", Sign(t, forged, nil, good), []string{keyset.ReasonSignature}},
		{"a changed payload", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2], []string{keyset.ReasonSignature}},
		{"alg none", header(map[string]any{"alg": "none"}), []string{keyset.ReasonAlgorithm}},
		{"alg NoNe", header(map[string]any{"alg": "NoNe"}), []string{keyset.ReasonAlgorithm}},
		{"alg HS256", header(map[string]any{"alg": "HS256"}), []string{keyset.ReasonAlgorithm}},
		{"typ at+jwt", header(map[string]any{"typ": "at+jwt"}), []string{keyset.ReasonType}},
		{"jku", header(map[string]any{"jku": "https://evil.example/keys"}), malformed},
		{"jwk", header(map[string]any{"jwk": map[string]any{}}), malformed},
		{"crit", header(map[string]any{"crit": []string{"exp"}}), malformed},
		{"kid ../../dev/null", header(map[string]any{"kid": "../../dev/null"}), []string{keyset.ReasonKey}},
		{"kid of 10 kB", header(map[string]any{"kid": strings.Repeat("k", 10_000)}), []string{keyset.ReasonKey, keyset.ReasonMalformed}},
		{"empty", "", malformed},
		{"1 MB of dots", strings.Repeat(".", 1<<20), malformed},
		{"JWE", "a.b.c.d.e", malformed},
		{"JSON serialisation", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, malformed},
		{"a name twice", SignRaw(t, issuer.Key(), nil, []byte(`{"sub":"a","sub":"b"}`)), malformed},
		{"a name in another case", SignRaw(t, issuer.Key(), nil, []byte(`{"sub":"a","Sub":"b"}`)), malformed},
		{"aud missing", with("aud", nil), audience},
		{"aud empty", with("aud", []string{}), audience},
		{"aud of another", with("aud", "https://broker.example/other"), audience},
		{"aud with a slash", with("aud", Audience+"/"), audience},
		{"aud of us and another", with("aud", []string{Audience, "https://other.example"}), audience},
		{"exp missing", with("exp", nil), expired},
		{"exp as text", with("exp", "1790000300"), expired},
		{"exp as a fraction", with("exp", json.Number("1790000300.5")), expired},
		{"exp beyond numbers", with("exp", json.Number("1e400")), expired},
		{"exp negative", with("exp", -1), expired},
		{"expired", with("exp", Now.Add(-time.Minute).Unix()), expired},
		{"valid for a year", with("exp", Now.AddDate(1, 0, 0).Unix()), expired},
		{"nbf in the future", with("nbf", Now.Add(time.Minute).Unix()), expired},
		{"iat in the future", with("iat", Now.Add(time.Minute).Unix()), expired},
		{"expired and badly signed", Sign(t, forged, nil, changed(good, "exp", Now.Add(-time.Hour).Unix())), []string{keyset.ReasonSignature}},
	}
	if !s.Unnamed {
		for _, other := range []any{nil, issuer.URL() + "/", "https://evil.example", strings.ToUpper(issuer.URL())} {
			out = append(out, refusal{"iss of another", with("iss", other), []string{federation.ReasonIssuer}})
		}
	}
	for _, name := range append([]string{"sub"}, s.Required...) {
		out = append(out, refusal{name + " missing", issuer.Sign(without(good, name)), claim})
	}
	return out
}

// outage: keys that were never had are an outage, not a refusal.
func (s Subject) outage(t *testing.T) {
	t.Run("issuer down from the start", func(t *testing.T) {
		issuer := NewIssuer(t)
		issuer.Roll(s.Algorithm)
		issuer.Down()
		source := s.New(t, issuer)
		_, trace, err := source.Verify(context.Background(), Present(issuer.Sign(s.Good(issuer))))
		require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
		require.Equal(t, federation.StepKey, trace.Failed())
	})
}

func changed(claims map[string]any, name string, value any) map[string]any {
	out := maps.Clone(claims)
	if value == nil {
		delete(out, name)
	} else {
		out[name] = value
	}
	return out
}

// without takes out a claim by its flat name.
func without(claims map[string]any, flat string) map[string]any {
	out := maps.Clone(claims)
	for name, value := range out {
		if name == flat {
			delete(out, name)
			return out
		}
		if inner, ok := value.(map[string]any); ok && strings.HasPrefix(flat, name+".") {
			out[name] = without(inner, strings.TrimPrefix(flat, name+"."))
			return out
		}
	}
	return out
}
