package revision_test

import (
	"testing"

	implv1 "github.com/authzed/spicedb/pkg/proto/impl/v1"
	"github.com/authzed/spicedb/pkg/zedtoken"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy/revision"
)

func zookie(t *testing.T, datastore, number string) agentid.Zookie {
	t.Helper()
	token, err := zedtoken.Encode(&implv1.DecodedZedToken{VersionOneof: &implv1.DecodedZedToken_V1{
		V1: &implv1.DecodedZedToken_V1ZedToken{Revision: number, DatastoreUniqueIdPrefix: datastore},
	}})
	require.NoError(t, err)
	return agentid.Zookie(token.GetToken())
}

// TestOrder: revisions of one graph, numbered as SQLite's and CockroachDB's are; what
// cannot be ordered is never at least as new.
func TestOrder(t *testing.T) {
	o := revision.New()
	at := func(number string) agentid.Zookie { return zookie(t, "graph1", number) }
	for _, c := range []struct {
		have, want agentid.Zookie
		ok         bool
	}{
		{at("10"), at("9"), true},
		{at("9"), at("10"), false},
		{at("10"), at("10"), true},
		{at("10"), "", true},
		{"", at("10"), false},
		{"", "", true},
		{at("1700000000000000000.0000000002"), at("1700000000000000000.0000000001"), true},
		{at("1700000000000000000.0000000001"), at("1700000000000000000.0000000002"), false},
		{at("99999999999999999999999"), at("9"), true},
		{at("10"), zookie(t, "graph2", "9"), false},
		{at("10"), zookie(t, "", "9"), false},
		{at("10"), "nonsense", false},
		{"nonsense", "nonsense", true},
		{at("CiQ="), at("9"), false},
		{at("1e9"), at("9"), false},
		{at("-1"), at("-2"), false},
		{at("1/3"), at("0"), false},
	} {
		require.Equal(t, c.ok, o.AtLeast(c.have, c.want), "%s, %s", c.have, c.want)
	}
	require.Equal(t, at("10"), o.Newer(at("10"), at("9")))
	require.Equal(t, at("10"), o.Newer(at("9"), at("10")))
	require.EqualValues(t, "unknown", o.Newer(at("9"), "unknown"))
	a, b := at("10"), at("9")
	require.Zero(t, testing.AllocsPerRun(100, func() { o.AtLeast(a, b) }))
}
