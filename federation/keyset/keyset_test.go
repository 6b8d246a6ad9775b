package keyset_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/egress"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// clock is a time that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_790_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newSet(t *testing.T, issuer *federationtest.Issuer, now *clock) *keyset.Set {
	t.Helper()
	client := egress.Client(egress.Config{AllowPrivate: true, Timeout: time.Second})
	t.Cleanup(client.CloseIdleConnections)
	s, err := keyset.New(keyset.Config{Issuer: issuer.URL(), Client: client, Now: now.Now})
	require.NoError(t, err)
	return s
}

var claims = map[string]any{"sub": "s"}

func TestEveryAlgorithmVerifies(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	for _, alg := range keyset.Algorithms {
		issuer.Roll(alg)
		now.pass(time.Minute)
		v, err := s.Verify(t.Context(), issuer.Sign(claims), keyset.Policy())
		require.NoError(t, err, alg)
		sub, _ := v.Claims.Get("sub").Text()
		require.Equal(t, "s", sub, alg)
		require.JSONEq(t, `{"sub":"s"}`, string(v.Payload), alg)
	}
	_, err := s.Verify(t.Context(), federationtest.Sign(t, issuer.Key(), map[string]any{"alg": "none"}, claims), keyset.Policy())
	require.Equal(t, keyset.ReasonAlgorithm, agentid.ReasonOf(err))
}

func TestRolledKeyIsPickedUpByTheFirstTokenThatNeedsIt(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	old := issuer.Sign(claims)
	_, err := s.Verify(t.Context(), old, keyset.Policy())
	require.NoError(t, err)
	now.pass(keyset.DefaultInterval)
	issuer.Roll(jose.ES256)
	_, err = s.Verify(t.Context(), issuer.Sign(claims), keyset.Policy())
	require.NoError(t, err)
	require.Equal(t, 2, issuer.Fetches())
	_, err = s.Verify(t.Context(), old, keyset.Policy())
	require.NoError(t, err, "the older key is published still")
	require.Equal(t, 2, issuer.Fetches())
}

// A token without kid is tried with all keys that fit, and makes for one fetch as well.
func TestKeyWithoutID(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	issuer.Roll(jose.ES256)
	bare := func() string { return federationtest.Sign(t, issuer.Key(), map[string]any{"kid": nil}, claims) }
	_, err := s.Verify(t.Context(), bare(), keyset.Policy())
	require.NoError(t, err)
	now.pass(time.Minute)
	issuer.Roll(jose.ES256)
	_, err = s.Verify(t.Context(), bare(), keyset.Policy())
	require.NoError(t, err)
}

func TestWithdrawnKeyServesUntilTheRefresh(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	leaked := issuer.Sign(claims)
	_, err := s.Verify(t.Context(), leaked, keyset.Policy())
	require.NoError(t, err)
	fresh := federationtest.NewKey(t, jose.ES256)
	issuer.Publish(fresh.Public())
	now.pass(keyset.DefaultRefresh)
	_, err = s.Verify(t.Context(), leaked, keyset.Policy())
	require.Equal(t, keyset.ReasonKey, agentid.ReasonOf(err))
}

// TestUnknownKidStorm: a storm of unknown key ids makes for one fetch per interval, all
// others wait for it or are refused, and the keys that are there go on serving.
func TestUnknownKidStorm(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	good := issuer.Sign(claims)
	_, err := s.Verify(t.Context(), good, keyset.Policy())
	require.NoError(t, err)
	require.Equal(t, 1, issuer.Fetches())
	stranger := federationtest.NewKey(t, jose.ES256)
	for round := 1; round <= 3; round++ {
		now.pass(keyset.DefaultInterval)
		var wg sync.WaitGroup
		for i := range 100 {
			token := federationtest.Sign(t, stranger, map[string]any{"kid": fmt.Sprintf("k%d-%d", round, i)}, claims)
			wg.Go(func() {
				_, err := s.Verify(context.Background(), token, keyset.Policy())
				if agentid.ReasonOf(err) != keyset.ReasonKey {
					t.Errorf("%v", err)
				}
				if _, err := s.Verify(context.Background(), good, keyset.Policy()); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1+round, issuer.Fetches())
	}
}

func TestFirstUseByHundredIsOneFetch(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, newClock())
	token := issuer.Sign(claims)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := s.Verify(context.Background(), token, keyset.Policy()); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, issuer.Fetches())
}

// TestIdentityProviderDown: the keys serve until they are too old, then the answer is an
// outage with the time to try again, and the first fetch that succeeds ends it.
func TestIdentityProviderDown(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	token := issuer.Sign(claims)
	_, err := s.Verify(t.Context(), token, keyset.Policy())
	require.NoError(t, err)
	issuer.Down()
	for range 20 {
		now.pass(keyset.DefaultMaxStale/20 - time.Second)
		_, err = s.Verify(t.Context(), token, keyset.Policy())
		require.NoError(t, err, "cached keys serve")
	}
	_, err = s.Verify(t.Context(), federationtest.Sign(t, federationtest.NewKey(t, jose.ES256), nil, claims), keyset.Policy())
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "nobody can say whether that key is new")
	now.pass(time.Minute)
	for range 3 {
		_, err = s.Verify(t.Context(), token, keyset.Policy())
		require.Equal(t, keyset.ReasonUnavailable, agentid.ReasonOf(err))
		answer := httperr.Of(err)
		require.Equal(t, http.StatusServiceUnavailable, answer.Status)
		require.Greater(t, answer.RetryAfter, time.Duration(0))
		require.LessOrEqual(t, answer.RetryAfter, keyset.DefaultInterval)
	}
	issuer.Break(nil)
	_, err = s.Verify(t.Context(), token, keyset.Policy())
	require.Equal(t, keyset.ReasonUnavailable, agentid.ReasonOf(err), "not before the interval has passed")
	now.pass(keyset.DefaultInterval)
	_, err = s.Verify(t.Context(), token, keyset.Policy())
	require.NoError(t, err, "recovered without a restart")
}

// TestDiscoveryIssuerDiffers: the document's issuer is compared byte for byte.
func TestDiscoveryIssuerDiffers(t *testing.T) {
	client := egress.Client(egress.Config{AllowPrivate: true})
	defer client.CloseIdleConnections()
	issuer := federationtest.NewIssuer(t)
	_, err := keyset.Discover(t.Context(), client, issuer.URL())
	require.NoError(t, err)
	for _, other := range []string{
		issuer.URL() + "/", strings.Replace(issuer.URL(), "http", "HTTP", 1), "https://evil.example", issuer.URL() + "\u200b",
		strings.Replace(issuer.URL(), "127.0.0.1", "localhost", 1),
	} {
		issuer.Pretend(other, "")
		_, err := keyset.Discover(t.Context(), client, issuer.URL())
		require.Equal(t, keyset.ReasonDiffers, agentid.ReasonOf(err), other)
	}
	issuer.Break(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"issuer":"a","issuer":"b"}`) })
	_, err = keyset.Discover(t.Context(), client, issuer.URL())
	require.Equal(t, keyset.ReasonDocument, agentid.ReasonOf(err))
}

// TestKeysThatAreNotTaken: each way in which an issuer's keys can be bad leaves the old
// ones in place.
func TestKeysThatAreNotTaken(t *testing.T) {
	now := newClock()
	issuer := federationtest.NewIssuer(t)
	s := newSet(t, issuer, now)
	token := issuer.Sign(claims)
	_, err := s.Verify(t.Context(), token, keyset.Policy())
	require.NoError(t, err)
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "configuration") {
				_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer.URL(), issuer.KeysURL())
				return
			}
			_, _ = io.WriteString(w, body)
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	big := new(strings.Builder)
	for i := range 10_000 {
		_, _ = fmt.Fprintf(big, `{"kty":"EC","kid":"%d"},`, i)
	}
	for name, h := range map[string]http.HandlerFunc{
		"JWKS redirect to the metadata service": redirect("http://169.254.169.254/latest"),
		"JWKS redirect to a file":               redirect("file:///etc/passwd"),
		"JWKS of 100 MB": func(w http.ResponseWriter, r *http.Request) {
			text("")(w, r)
			for range 100 {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<20)); err != nil {
					return
				}
			}
		},
		"JWKS of 10 k keys":        text(`{"keys":[` + strings.TrimSuffix(big.String(), ",") + `]}`),
		"JWKS as a slow drip":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"empty":                    text(`{"keys":[]}`),
		"no JSON":                  text(`<html>`),
		"trailing data":            text(`{"keys":[]}{}`),
		"a symmetric key":          text(`{"keys":[{"kty":"oct","k":"AAAA"}]}`),
		"an all-zero Ed25519 key":  text(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"}]}`),
		"a point not on the curve": text(`{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`),
		"RSA of 16384 bit":         text(`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 2730) + `w"}]}`),
		"server error":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"keys elsewhere, in clear": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://10.0.0.1/keys"}`, issuer.URL())
		},
	} {
		t.Run(name, func(t *testing.T) {
			issuer.Break(h)
			now.pass(keyset.DefaultRefresh)
			fetches := s.Status().Fetches
			_ = s.Refresh(t.Context())
			status := s.Status()
			require.Equal(t, fetches+1, status.Fetches)
			require.Error(t, status.Failed)
			_, err = s.Verify(t.Context(), token, keyset.Policy())
			require.NoError(t, err, "the old keys serve")
		})
	}
	issuer.Break(nil)
	now.pass(keyset.DefaultRefresh)
	require.NoError(t, s.Refresh(t.Context()))
}

func TestStaticKeys(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	key := issuer.Key()
	public := key.Public()
	data, err := public.MarshalJSON()
	require.NoError(t, err)
	s, err := keyset.New(keyset.Config{Static: []byte(`{"keys":[` + string(data) + `]}`)})
	require.NoError(t, err)
	_, err = s.Verify(t.Context(), issuer.Sign(claims), keyset.Policy())
	require.NoError(t, err)
	_, err = s.Verify(t.Context(), federationtest.Sign(t, federationtest.NewKey(t, jose.ES256), nil, claims), keyset.Policy())
	require.Equal(t, keyset.ReasonKey, agentid.ReasonOf(err))
	require.Zero(t, issuer.Fetches())
	for _, bad := range []keyset.Config{{}, {Static: []byte("x")}, {Issuer: "https://a.example", URL: "https://a.example/keys"}} {
		_, err := keyset.New(bad)
		require.Error(t, err)
	}
}
