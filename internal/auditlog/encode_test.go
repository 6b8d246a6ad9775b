package auditlog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid"
)

// TestTheCanonicalFormIsThatOfEncodingJSON: byte for byte, whatever the texts hold.
func TestTheCanonicalFormIsThatOfEncodingJSON(t *testing.T) {
	text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.StringMatching(`[a-z:/_-]{1,20}`), rapid.SampledFrom([]string{`"`, `\`, "<&>", "\u2028", "\xff", "\x00\x1f\x7f", "\b\f\n\r\t"}))
	leg := rapid.Custom(func(t *rapid.T) Leg { return Leg{text.Draw(t, "name"), text.Draw(t, "outcome")} })
	outcome := rapid.Custom(func(t *rapid.T) Outcome {
		return Outcome{text.Draw(t, "field"), text.Draw(t, "kind"), text.Draw(t, "outcome")}
	})
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			ID: text.Draw(t, "id"), Time: time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999).Draw(t, "µs")*1000).UTC(),
			Kind: Kind(text.Draw(t, "kind")), Phase: Phase(text.Draw(t, "phase")), Request: text.Draw(t, "request"), Tenant: text.Draw(t, "tenant"),
			Principal: text.Draw(t, "principal"), Agent: text.Draw(t, "agent"), AgentType: text.Draw(t, "type"), Lineage: rapid.SliceOfN(text, 0, 3).Draw(t, "lineage"),
			Operation: text.Draw(t, "operation"), Resource: text.Draw(t, "resource"), InputsDigest: text.Draw(t, "digest"), Token: text.Draw(t, "token"),
			PolicyVersion: text.Draw(t, "version"), Zookie: agentid.Zookie(text.Draw(t, "zookie")), Epoch: agentid.Epoch(rapid.Int64Range(0, 1<<40).Draw(t, "epoch")),
			Legs: rapid.SliceOfN(leg, 0, 3).Draw(t, "legs"), Constraints: rapid.SliceOfN(outcome, 0, 3).Draw(t, "constraints"),
			Decision: Decision(rapid.IntRange(0, 1).Draw(t, "decision")), Reason: text.Draw(t, "reason"), Field: text.Draw(t, "input"),
			UpstreamStatus: rapid.IntRange(0, 599).Draw(t, "status"), Notes: rapid.MapOfN(text, text, 0, 3).Draw(t, "notes"),
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		require.NoError(t, enc.Encode(r))
		got, err := encode(nil, r)
		require.NoError(t, err)
		require.Equal(t, want.String(), string(got)+"\n")
	})
}

// TestNoCredentialIsShorterThanWhatIsLookedAt.
func TestNoCredentialIsShorterThanWhatIsLookedAt(t *testing.T) {
	for _, s := range []string{"whsec_abcdef", "sk_live_abcdef", "basic abcdefgh", "eyJabcde.fghij", "Bearer abcdefgh"} {
		require.GreaterOrEqual(t, len(s), shortest)
		require.Equal(t, "[redacted]", redact(s))
	}
	for _, s := range []string{"whsec_abcde", "sk_live_ab", "eyJabcd.fgh"} {
		require.NotRegexp(t, credential, s, "too short to be one")
	}
}

// TestNothingThatIsACredentialPassesTheQuickLook: the look before the expression leaves out
// no text that the expression would change.
func TestNothingThatIsACredentialPassesTheQuickLook(t *testing.T) {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{
			"eyJ", "eyJabcde.fghij", "sk_", "rk_", "live_", "test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "agentid_", "admin_", "agentid-seal-1:",
			"Bearer", "bEaReR", "dpop", "DPoP", "basic", "BASIC", " ", "\t", "\n", "\r", "\f", ".", "abcdefgh", "0123456789abcdef", "-", "_", "é", "baſic ", "\u212a",
		}),
		rapid.StringMatching(`[A-Za-z0-9_. -]{0,12}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(piece, 1, 8).Draw(t, "pieces"), "")
		require.Equal(t, credential.ReplaceAllString(s, "[redacted]"), redact(s))
	})
}
