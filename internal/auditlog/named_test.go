package auditlog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestARecordOfANamedCallerIsTheSame as one that was named field by field, whatever the
// names hold, and also when a field is changed afterwards.
func TestARecordOfANamedCallerIsTheSame(t *testing.T) {
	text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.StringMatching(`[a-z:/_-]{1,20}`), rapid.Just("Bearer abcdefgh"), rapid.StringN(600, 700, -1))
	rapid.Check(t, func(t *rapid.T) {
		tenant, principal, agent, kind := text.Draw(t, "tenant"), text.Draw(t, "principal"), text.Draw(t, "agent"), text.Draw(t, "type")
		lineage := rapid.SliceOfN(text, 0, 40).Draw(t, "lineage")
		plain := Record{ID: "i", Kind: Operation, Phase: Single, Tenant: tenant, Principal: principal, Agent: agent, AgentType: kind, Lineage: lineage}
		named := Record{ID: "i", Kind: Operation, Phase: Single}
		named.Name(NewNamed(tenant, principal, agent, kind, lineage))
		if rapid.Bool().Draw(t, "changed") {
			other := text.Draw(t, "other")
			plain.Agent, named.Agent = other, other
			named.Tenant, named.Principal, named.AgentType, named.Lineage = tenant, principal, kind, lineage
		}
		want, err := Prepare(plain, time.Unix(1, 0))
		require.NoError(t, err)
		got, err := Prepare(named, time.Unix(1, 0))
		require.NoError(t, err)
		require.Equal(t, string(want.Encoded()), string(got.Encoded()))
		require.Equal(t, want.Record(), got.Record())
	})
}
