package policytest

import (
	"strconv"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	implv1 "github.com/authzed/spicedb/pkg/proto/impl/v1"
	"github.com/authzed/spicedb/pkg/zedtoken"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
)

func runZookies(t *testing.T, g Graph, start func(tb testing.TB) Graph) {
	w := NewWorld(t, g, "zookies", 1)
	t.Run("new enemy", func(t *testing.T) { newEnemy(t, w) })
	t.Run("the answer is at least as new as asked", func(t *testing.T) {
		w.Touch(t, w.PrincipalGrant())
		a := allow(t, w, w.Question())
		q := w.Question()
		q.AtLeast = a.Zookie()
		allow(t, w, q)
	})
	t.Run("none", func(t *testing.T) {
		q := w.Question()
		q.AtLeast = ""
		allow(t, w, q)
	})
	t.Run("forged", func(t *testing.T) {
		for _, forged := range []agentid.Zookie{"nonsense", "AAAA", "GhUKEzE2", agentid.Zookie(string(w.Zookie) + "AAAA")} {
			q := w.Question()
			q.AtLeast = forged
			forbidden(t, w, q, policy.ReasonZookieInvalid)
		}
	})
	t.Run("of a revision that is still to come", func(t *testing.T) {
		q := w.Question()
		q.AtLeast = forge(t, w.Zookie, func(z *implv1.DecodedZedToken_V1ZedToken) {
			number, err := strconv.ParseInt(z.Revision, 10, 64)
			require.NoError(t, err)
			z.Revision = strconv.FormatInt(number+1000, 10)
		})
		forbidden(t, w, q, policy.ReasonZookieInvalid)
	})
	t.Run("of a revision long past, answered now", func(t *testing.T) {
		ask := func() policy.Question {
			q := w.Question()
			q.AtLeast = forge(t, w.Zookie, func(z *implv1.DecodedZedToken_V1ZedToken) { z.Revision = "1" })
			return q
		}
		allow(t, w, ask())
		w.Delete(t, w.Enabled(w.Agents[0]))
		forbidden(t, w, ask(), policy.ReasonAgentNotLive)
		w.Touch(t, w.Enabled(w.Agents[0]))
	})
	t.Run("without a datastore's mark", func(t *testing.T) {
		q := w.Question()
		q.AtLeast = forge(t, w.Zookie, func(z *implv1.DecodedZedToken_V1ZedToken) { z.DatastoreUniqueIdPrefix = "" })
		forbidden(t, w, q, policy.ReasonZookieInvalid)
	})
	t.Run("of another graph", func(t *testing.T) {
		foreign := NewWorld(t, start(t), "zookies", 0)
		q := w.Question()
		q.AtLeast = foreign.Zookie
		forbidden(t, w, q, policy.ReasonZookieInvalid)
	})
}

// newEnemy takes something away and asks with the zookie of the taking away, again and
// again: never a yes. Raising the zookie is what changes the answer.
func newEnemy(t *testing.T, w *World) {
	for range 25 {
		old := w.Question()
		allow(t, w, old)
		w.Delete(t, w.Enabled(w.Agents[0]))
		raised := old
		raised.AtLeast = w.Zookie
		require.NotEqual(t, old.AtLeast, raised.AtLeast)
		forbidden(t, w, raised, policy.ReasonAgentNotLive)
		w.Touch(t, w.Enabled(w.Agents[0]))
		raised.AtLeast = w.Zookie
		allow(t, w, raised)
	}
}

// forge changes what a zookie says. Zookies are not signed; tokens, which carry them, are.
func forge(tb testing.TB, zookie agentid.Zookie, change func(*implv1.DecodedZedToken_V1ZedToken)) agentid.Zookie {
	tb.Helper()
	decoded, err := zedtoken.Decode(&v1.ZedToken{Token: string(zookie)})
	require.NoError(tb, err)
	current, ok := decoded.GetVersionOneof().(*implv1.DecodedZedToken_V1)
	require.True(tb, ok)
	change(current.V1)
	encoded, err := zedtoken.Encode(decoded)
	require.NoError(tb, err)
	return agentid.Zookie(encoded.GetToken())
}
