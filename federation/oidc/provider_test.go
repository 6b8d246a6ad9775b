package oidc_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
)

const api = "https://broker.example/acme"

var ours = idp.Client{ID: "broker", Secret: "our secret there", Redirects: []string{"http://127.0.0.1:7420/callback"}}

// clock is a time that the test moves ahead of the real one, in which providers issue.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) pass(d time.Duration) { c.ahead.Add(int64(d)) }

func federated(t *testing.T, kind idp.Kind, maxStale time.Duration) (*idp.Provider, *oidc.Provider, *clock) {
	t.Helper()
	p, c := idp.Start(t, kind, idp.Config{Clients: []idp.Client{ours}, Resources: []string{api}}), &clock{}
	source, err := oidc.New(t.Context(), oidc.Config{
		Issuer: p.Issuer, ClientID: ours.ID, Secret: agentid.NewSecret(ours.Secret), Audiences: []string{api},
		MaxStale: maxStale, AllowPrivate: true, Now: c.Now,
	})
	require.NoError(t, err)
	return p, source, c
}

func idToken(t *testing.T, p *idp.Provider, u idp.User) string {
	t.Helper()
	tokens, err := p.SignIn(t.Context(), ours, u, "")
	require.NoError(t, err)
	return tokens.ID
}

// What real providers say of a person is read, and an e-mail address only where the
// provider verified it.
func TestPeopleOfRealProviders(t *testing.T) {
	for _, kind := range []idp.Kind{idp.OIDCProvider, idp.Zitadel} {
		t.Run(kind.String(), func(t *testing.T) {
			p, source, _ := federated(t, kind, 0)
			alice, trace, err := source.Present(t.Context(), idToken(t, p, idp.Alice()), oidc.TypeIDToken)
			require.NoError(t, err)
			require.Empty(t, trace.Failed())
			require.Equal(t, p.Issuer, alice.Identity.Issuer)
			require.Equal(t, "u-alice", alice.Identity.Subject)
			require.Equal(t, "alice@acme.example", alice.Email)
			require.Equal(t, []string{"refunders", "support"}, alice.Groups)

			mallory, _, err := source.Present(t.Context(), idToken(t, p, idp.Mallory()), oidc.TypeIDToken)
			require.NoError(t, err)
			require.Equal(t, "u-mallory", mallory.Identity.Subject)
			require.Empty(t, mallory.Email, "nobody verified it")

			_, trace, err = source.Present(t.Context(), idToken(t, p, idp.Alice()), oidc.TypeAccessToken)
			require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), "an ID token is no access token")
			require.NotEmpty(t, trace.Failed())
		})
	}
}

// An access token for us is taken, one for nobody in particular is not.
func TestAccessTokenOfARealProvider(t *testing.T) {
	p, source, _ := federated(t, idp.OIDCProvider, 0)
	tokens, err := p.SignIn(t.Context(), ours, idp.Alice(), api)
	require.NoError(t, err)
	alice, _, err := source.Present(t.Context(), tokens.Access, oidc.TypeAccessToken)
	require.NoError(t, err)
	require.Equal(t, "u-alice", alice.Identity.Subject)
	_, _, err = source.Present(t.Context(), tokens.Access, oidc.TypeIDToken)
	require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), "an access token is no ID token")

	tokens, err = p.SignIn(t.Context(), ours, idp.Alice(), "")
	require.NoError(t, err)
	_, _, err = source.Present(t.Context(), tokens.Access, oidc.TypeAccessToken)
	require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), "an opaque token")
}

// Another provider's token, and one for another of the provider's clients, are refused.
func TestTokensForOthersAreRefused(t *testing.T) {
	p, source, _ := federated(t, idp.OIDCProvider, 0)
	other := idp.Client{ID: "somebody-else", Secret: "their secret", Redirects: []string{"http://127.0.0.1:7999/cb"}}
	require.NoError(t, p.SetClients(ours, other))
	tokens, err := p.SignIn(t.Context(), other, idp.Alice(), "")
	require.NoError(t, err)
	_, trace, err := source.Present(t.Context(), tokens.ID, oidc.TypeIDToken)
	require.Equal(t, federation.ReasonAudience, agentid.ReasonOf(err))
	require.Equal(t, federation.StepAudience, trace.Failed())

	elsewhere := idp.Start(t, idp.OIDCProvider, idp.Config{Clients: []idp.Client{ours}})
	_, trace, err = source.Present(t.Context(), idToken(t, elsewhere, idp.Alice()), oidc.TypeIDToken)
	require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err))
	require.Equal(t, federation.StepSignature, trace.Failed(), "the same key id, another key")
}

// A real provider goes down: the keys that are there serve until they are too old, then it
// is an outage with the time to ask again; it comes back, and so do we, without a restart.
func TestProviderOutage(t *testing.T) {
	const maxStale = 2 * time.Minute
	p, source, now := federated(t, idp.OIDCProvider, maxStale)
	token := idToken(t, p, idp.Alice())
	present := func() error {
		_, _, err := source.Present(t.Context(), token, oidc.TypeIDToken)
		return err
	}
	require.NoError(t, present())
	p.Close()
	now.pass(maxStale - time.Second)
	require.NoError(t, present(), "the keys that are there serve")
	now.pass(2 * time.Second)
	err := present()
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	retry := httperr.Of(err).RetryAfter
	require.Positive(t, retry)
	require.NoError(t, p.Resume())
	now.pass(retry)
	require.NoError(t, present(), "the time that was told is enough")
}

// A real provider rolls its key: the first token that needs the new one fetches it, and
// what the old one signed is refused.
func TestProviderRollsItsKey(t *testing.T) {
	for _, kind := range []idp.Kind{idp.OIDCProvider, idp.Zitadel} {
		t.Run(kind.String(), func(t *testing.T) {
			p, source, now := federated(t, kind, 0)
			old := idToken(t, p, idp.Alice())
			_, _, err := source.Present(t.Context(), old, oidc.TypeIDToken)
			require.NoError(t, err)
			require.NoError(t, p.RollKeys(false))
			now.pass(keyset.DefaultInterval)
			_, _, err = source.Present(t.Context(), idToken(t, p, idp.Alice()), oidc.TypeIDToken)
			require.NoError(t, err)
			_, trace, err := source.Present(t.Context(), old, oidc.TypeIDToken)
			require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err))
			require.Equal(t, federation.StepKey, trace.Failed())
		})
	}
}

// What is wrong with a provider is said when it is added.
func TestMisconfiguredProvider(t *testing.T) {
	p := idp.Start(t, idp.Zitadel, idp.Config{Clients: []idp.Client{ours}})
	for name, c := range map[string]struct {
		issuer  string
		private bool
		reason  string
	}{
		"without its slash":  {p.Issuer[:len(p.Issuer)-1], true, keyset.ReasonDiffers},
		"in another case":    {"HTTP" + p.Issuer[4:], true, keyset.ReasonDiffers},
		"private, not let":   {p.Issuer, false, "invalid_request"},
		"http beyond us":     {"http://192.0.2.1/", true, "invalid_request"},
		"nobody there":       {"http://127.0.0.1:1/", true, keyset.ReasonUnreachable},
		"no discovery there": {p.Issuer + "elsewhere/", true, keyset.ReasonUnreachable},
	} {
		_, err := oidc.New(t.Context(), oidc.Config{Issuer: c.issuer, ClientID: ours.ID, AllowPrivate: c.private})
		require.Equal(t, c.reason, agentid.ReasonOf(err), "%s: %v", name, err)
	}
}
