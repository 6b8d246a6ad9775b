package forward

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestScrubMasksAcrossReads(t *testing.T) {
	const secret = "sk_live_abab"
	for _, text := range []string{
		"", "nothing here", secret, "x" + secret + "y", secret + secret, "sk_live_aba" + secret, "sk_live_sk_live_abab",
		strings.Repeat("a", scrubChunk-3) + secret + strings.Repeat("b", 50), "ends with a beginning sk_live_",
	} {
		want := strings.ReplaceAll(text, secret, strings.Repeat("*", len(secret)))
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "halves": iotest.HalfReader, "data with error": iotest.DataErrReader,
		} {
			got, err := io.ReadAll(scrub(io.NopCloser(wrap(strings.NewReader(text))), secret))
			require.NoError(t, err)
			require.Equal(t, want, string(got), name)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add([]byte("aab"), []byte("ab"))
	f.Fuzz(func(t *testing.T, text, secret []byte) {
		got, err := io.ReadAll(scrub(io.NopCloser(iotest.OneByteReader(bytes.NewReader(text))), string(secret)))
		if err != nil || len(got) != len(text) {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
		if len(secret) > 0 && bytes.Trim(secret, "*") != nil && bytes.Contains(got, secret) && len(bytes.Trim(secret, "*")) == len(secret) {
			t.Fatalf("%q still holds %q", got, secret)
		}
	})
}
