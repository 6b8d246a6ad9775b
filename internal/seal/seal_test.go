package seal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/seal"
)

func newKey(t *testing.T) (*seal.Key, agentid.Secret) {
	t.Helper()
	k, text, err := seal.Generate()
	require.NoError(t, err)
	return k, text
}

func TestSealedValuesOpenOnlyWhereTheyBelong(t *testing.T) {
	k, text := newKey(t)
	sealed, err := k.Seal([]byte("sk_live_1"), "credential", "acme", "stripe")
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "sk_live")

	again, err := seal.FromText(text)
	require.NoError(t, err)
	plain, err := again.Open(sealed, "credential", "acme", "stripe")
	require.NoError(t, err)
	require.Equal(t, "sk_live_1", string(plain))

	for _, place := range [][]string{{"credential", "evil", "stripe"}, {"credential", "acmes", "tripe"}, {"credential", "acme"}, {}} {
		_, err := k.Open(sealed, place...)
		require.ErrorIs(t, err, seal.ErrCorrupt)
	}
	other, _ := newKey(t)
	_, err = other.Open(sealed, "credential", "acme", "stripe")
	require.ErrorIs(t, err, seal.ErrWrongKey)
}

func TestDamagedValuesAreRefused(t *testing.T) {
	k, _ := newKey(t)
	sealed, err := k.Seal([]byte("secret"), "p")
	require.NoError(t, err)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := k.Open(bad, "p")
		require.Error(t, err, "byte %d", i)
		_, err = k.Open(sealed[:i], "p")
		require.Error(t, err, "cut at %d", i)
	}
	var none *seal.Key
	_, err = none.Seal(nil)
	require.Error(t, err)
	_, err = (&seal.Key{}).Open(sealed)
	require.Error(t, err)
}

func TestNoncesDiffer(t *testing.T) {
	k, _ := newKey(t)
	a, err := k.Seal([]byte("x"))
	require.NoError(t, err)
	b, err := k.Seal([]byte("x"))
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestTheKeyCannotBePrinted(t *testing.T) {
	k, text := newKey(t)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "text", text)
	js, err := json.Marshal(map[string]any{"key": k, "text": text})
	require.NoError(t, err)
	secret := strings.TrimSpace(strings.TrimPrefix(text.Reveal(), "agentid-seal-1:"))
	for _, out := range []string{log.String(), string(js), fmt.Sprintf("%v %+v %#v %s %x %q", k, k, k, k, k, k)} {
		require.NotContains(t, out, secret)
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	_, err := seal.File(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	k, created, err := seal.FileOrNew(path)
	require.NoError(t, err)
	require.True(t, created)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	again, created, err := seal.FileOrNew(path)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, k.ID(), again.ID())

	t.Setenv("TEST_SEAL_KEY", mustRead(t, path))
	for _, ref := range []string{"env:TEST_SEAL_KEY", "file:" + path} {
		k2, err := seal.Resolve(ref)
		require.NoError(t, err)
		require.Equal(t, k.ID(), k2.ID())
	}
	for _, ref := range []string{"", "env:", "env:TEST_SEAL_NONE", "file:", "vault:x", path} {
		_, err := seal.Resolve(ref)
		require.Error(t, err, ref)
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	_, text := newKey(t)
	write := func(t *testing.T, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "seal.key")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	for name, path := range map[string]string{
		"group may read": write(t, text.Reveal(), 0o640),
		"all may read":   write(t, text.Reveal(), 0o604),
		"empty":          write(t, "", 0o600),
		"cut":            write(t, text.Reveal()[:40], 0o600),
		"too long":       write(t, text.Reveal()+strings.Repeat("x", 300), 0o600),
		"two keys":       write(t, text.Reveal()+text.Reveal(), 0o600),
		"not base64":     write(t, "agentid-seal-1:"+strings.Repeat("!", 43)+"\n", 0o600),
		"a directory":    t.TempDir(),
	} {
		_, _, err := seal.FileOrNew(path)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), strings.TrimPrefix(text.Reveal()[:40], "agentid-seal-1:"), name)
	}
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(write(t, text.Reveal(), 0o600), link))
	_, err := seal.File(link)
	require.Error(t, err, "a symbolic link")

	if os.Geteuid() == 0 {
		foreign := write(t, text.Reveal(), 0o600)
		require.NoError(t, os.Chown(foreign, 12345, -1))
		_, err := seal.File(foreign)
		require.ErrorContains(t, err, "belongs to user 12345")
	}
}

func TestTwoThatStartAtOnceAgreeOnOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			if k, _, err := seal.FileOrNew(path); err == nil {
				ids[i] = k.ID()
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
		require.NotEmpty(t, id)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}
