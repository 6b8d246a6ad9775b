package ledgertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/signer"
)

func credentials(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	ref := Ref(t, "connector:acme/stripe")
	before, err := l.Connectors(ctx)
	require.NoError(t, err)
	require.Len(t, before, 1)
	require.True(t, before[0].Credential.IsZero())

	const key = "sk_live_51abcdef"
	require.NoError(t, l.PutCredential(ctx, ref, agentid.NewSecret(key)))
	after, err := l.Connectors(ctx)
	require.NoError(t, err)
	require.Equal(t, key, after[0].Credential.Reveal())
	require.Greater(t, after[0].Version, before[0].Version)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", after, after, after), key)

	refuses(t, l.PutCredential(ctx, ref, agentid.Secret{}), agentid.KindInvalid, "invalid_request")
	refuses(t, l.PutCredential(ctx, Ref(t, "connector:acme/nothing"), agentid.NewSecret(key)), agentid.KindNotFound, "connector_unknown")

	_, _, err = l.PutConnector(ctx, ledger.Connector{Ref: ref, Kind: "payments", Resource: "https://acme.gw", Upstream: "https://other"})
	require.NoError(t, err)
	moved, err := l.Connectors(ctx)
	require.NoError(t, err)
	require.Greater(t, moved[0].Version, after[0].Version)
	require.Equal(t, key, moved[0].Credential.Reveal())

	require.NoError(t, l.DeleteConnector(ctx, ref))
	_, _, err = l.PutConnector(ctx, ledger.Connector{Ref: ref, Kind: "payments", Resource: "https://acme.gw", Upstream: "https://other"})
	require.NoError(t, err)
	again, err := l.Connectors(ctx)
	require.NoError(t, err)
	require.True(t, again[0].Credential.IsZero(), "a new connector of the old name has no credential")
	require.Greater(t, again[0].Version, moved[0].Version)
}

func administrators(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	info, secret, err := l.BootstrapAdmin(ctx, "root", auditlog.Record{Kind: auditlog.Admin, Phase: auditlog.Single, Operation: "admin.bootstrap", Decision: auditlog.Allow})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(secret.Reveal()), 43)
	_, _, err = l.BootstrapAdmin(ctx, "second")
	refuses(t, err, agentid.KindConflict, "already_bootstrapped")
	who, err := l.AuthenticateAdmin(ctx, secret)
	require.NoError(t, err)
	require.Equal(t, "root", who.Subject)

	text := secret.Reveal()
	for _, bad := range []string{
		"", "root", text[:len(text)-1], text + "x", strings.ToUpper(text), text[:len(text)-1] + "!", "agentid_admin__", "agentid_admin_" + info.ID + "_",
		strings.Replace(text, "admin", "client", 1), strings.Repeat("a", 1<<20),
	} {
		_, err := l.AuthenticateAdmin(ctx, agentid.NewSecret(bad))
		refuses(t, err, agentid.KindUnauthenticated, "admin_credential_invalid")
	}
	refuses(t, l.DeleteAdmin(ctx, info.ID), agentid.KindConflict, "last_admin")
	_, next, err := l.RotateAdmin(ctx, info.ID)
	require.NoError(t, err)
	_, err = l.AuthenticateAdmin(ctx, secret)
	refuses(t, err, agentid.KindUnauthenticated, "admin_credential_invalid")
	who, err = l.AuthenticateAdmin(ctx, next)
	require.NoError(t, err)
	require.Equal(t, "root", who.Subject)
	_, _, err = l.RotateAdmin(ctx, info.ID)
	refuses(t, err, agentid.KindNotFound, "admin_unknown")
}

func serviceClients(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	Populate(t, l, "acme")
	Populate(t, l, "beta")
	ref, other := Ref(t, "connector:acme/stripe"), Ref(t, "connector:beta/stripe")
	info, secret, err := l.AddClientSecret(ctx, ref)
	require.NoError(t, err)
	_, second, err := l.AddClientSecret(ctx, ref)
	require.NoError(t, err)
	require.NoError(t, l.AuthenticateClient(ctx, ref, secret))
	require.NoError(t, l.AuthenticateClient(ctx, ref, second))
	for _, err := range []error{
		l.AuthenticateClient(ctx, other, secret),
		l.AuthenticateClient(ctx, agentid.Ref{}, secret),
		l.AuthenticateClient(ctx, ref, agentid.Secret{}),
		l.AuthenticateClient(ctx, ref, agentid.NewSecret(secret.Reveal()+"x")),
	} {
		refuses(t, err, agentid.KindUnauthenticated, "client_secret_invalid")
	}
	_, _, err = l.AddClientSecret(ctx, Ref(t, "connector:acme/nothing"))
	refuses(t, err, agentid.KindNotFound, "connector_unknown")
	refuses(t, l.DeleteClientSecret(ctx, other, info.ID), agentid.KindNotFound, "client_secret_unknown")
	require.NoError(t, l.DeleteClientSecret(ctx, ref, info.ID))
	refuses(t, l.AuthenticateClient(ctx, ref, secret), agentid.KindUnauthenticated, "client_secret_invalid")
	require.NoError(t, l.AuthenticateClient(ctx, ref, second))
}

func signingKeys(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	key := func(id, algorithm string, state signer.State) signer.Key {
		clock.Add(time.Second)
		return signer.Key{
			Info:    signer.Info{ID: id, Algorithm: algorithm, State: state, StagedAt: clock.Now()},
			Private: agentid.NewSecret("private-" + id),
		}
	}
	a, b, other := key("a", "EdDSA", signer.StateActive), key("b", "EdDSA", signer.StateStaged), key("c", "ES256", signer.StateActive)
	for _, k := range []signer.Key{a, b, other} {
		require.NoError(t, l.AddSigningKey(ctx, k))
	}
	refuses(t, l.AddSigningKey(ctx, a), agentid.KindConflict, "key_exists")
	refuses(t, l.AddSigningKey(ctx, key("d", "EdDSA", signer.StateActive)), agentid.KindConflict, "key_exists")
	refuses(t, l.AddSigningKey(ctx, key("d", "EdDSA", 0)), agentid.KindInvalid, "invalid_request")

	next := b.Info
	next.State, next.ActivatedAt = signer.StateActive, clock.Now()
	refuses(t, l.SetSigningKeys(ctx, next), agentid.KindConflict, "key_active")
	old := a.Info
	old.State, old.RetiredAt, old.PublishedUntil = signer.StateRetired, clock.Now(), clock.Now().Add(time.Hour)
	missing := a.Info
	missing.ID, missing.State = "nothing", signer.StateRetired
	refuses(t, l.SetSigningKeys(ctx, old, next, missing), agentid.KindConflict, "key_state")
	keys, err := l.SigningKeys(ctx)
	require.NoError(t, err)
	require.Equal(t, signer.StateActive, keys[0].State, "all or nothing")

	require.NoError(t, l.SetSigningKeys(ctx, next, old), "in any order")
	keys, err = l.SigningKeys(ctx)
	require.NoError(t, err)
	require.Len(t, keys, 3)
	require.Equal(t, signer.StateRetired, keys[0].State)
	require.Equal(t, signer.StateActive, keys[1].State)
	require.Equal(t, "private-b", keys[1].Private.Reveal())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", keys, keys, keys), "private-")
	old.State = signer.StateActive
	refuses(t, l.SetSigningKeys(ctx, old), agentid.KindConflict, "key_state")

	clock.Add(24 * time.Hour)
	_, err = l.Purge(ctx)
	require.NoError(t, err)
	keys, err = l.SigningKeys(ctx)
	require.NoError(t, err)
	require.Len(t, keys, 2)
}
