package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/client"
)

// files are the data's own of a store, with what SQLite keeps beside it.
func (s *site) files(store string) map[string][]byte {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "data", store+".db*"))
	require.NoError(s.t, err)
	out := map[string][]byte{}
	for _, path := range found {
		if strings.HasSuffix(path, ".lock") {
			continue
		}
		data, err := os.ReadFile(path)
		require.NoError(s.t, err)
		out[path] = data
	}
	require.NotEmpty(s.t, out)
	return out
}

// putBack replaces the data of a store by an older one.
func (s *site) putBack(store string, older map[string][]byte) {
	s.t.Helper()
	for path := range s.files(store) {
		require.NoError(s.t, os.Remove(path))
	}
	for path, data := range older {
		require.NoError(s.t, os.WriteFile(path, data, 0o600))
	}
}

// TestAnOlderBackupBringsNothingBack puts real older files in place and starts over them:
// what was revoked since does not come back to life, and nothing that was live before runs
// before somebody has looked.
func TestAnOlderBackupBringsNothingBack(t *testing.T) {
	for name, c := range map[string]struct {
		stores []string
		mark   bool // the folder's own mark stays
		said   bool // an administrator says so
	}{
		"ledger and graph":               {stores: []string{"ledger", "graph"}, mark: true},
		"the ledger alone":               {stores: []string{"ledger"}, mark: true},
		"the graph alone":                {stores: []string{"graph"}, mark: true},
		"on another machine":             {stores: []string{"ledger", "graph"}},
		"with its mark, said afterwards": {stores: []string{"ledger", "graph", "mark"}, said: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.start()
			first := s.acme()
			second := s.agent("refunds-2")
			used, revoked := s.mustMint(first), s.mustMint(first)
			ended := s.mustMint(second)
			s.kill()
			backup := map[string]map[string][]byte{"ledger": s.files("ledger"), "graph": s.files("graph")}
			markPath := filepath.Join(s.dir, "data", "epoch.mark")
			mark, err := os.ReadFile(markPath)
			require.NoError(t, err)

			s.start()
			s.must("revoke", "token:acme/"+jti(t, revoked.Access))
			s.must("agent", "retire", "agent:acme/refunds-2")
			s.kill()
			for _, store := range c.stores {
				if store == "mark" {
					require.NoError(t, os.WriteFile(markPath, mark, 0o600))
					continue
				}
				s.putBack(store, backup[store])
			}
			if !c.mark && !c.said {
				require.NoError(t, os.Remove(markPath))
			}
			s.start()
			if c.said {
				require.Contains(t, s.must("admin", "restored", "--reason", "the disk was copied"), "restored")
			}
			require.Contains(t, s.logs.String(), "older than it once was")
			s.nothingIsBack(first, second, used, revoked, ended)

			// Again over the same data: nothing more happens, and nothing comes back.
			s.kill()
			s.start()
			require.NotContains(t, s.logs.String(), "older than it once was")
			s.nothingIsBack(first, second, used, revoked, ended)

			require.Contains(t, s.must("agent", "unfreeze", "--tenant", "acme", "--filter", "all=true", "--reason", "restored"), "active")
			fresh := s.mustMint(first)
			status, answer, err := (&caller{site: s, agent: first}).do(t.Context(), http.MethodPost, "/v1/refunds", "charge=ch_ada&amount=1", "after-restore", fresh)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status, answer)
			require.NotEmpty(t, s.auditRows("operation=restore"))
		})
	}
}

// mustMint mints one refund.
func (s *site) mustMint(agent *client.Client) client.Token {
	s.t.Helper()
	token, err := agent.Mint(s.t.Context(), s.oneRefund())
	require.NoError(s.t, err)
	return token
}

// nothingIsBack uses what was live at the time of the backup.
func (s *site) nothingIsBack(first, second *client.Client, tokens ...client.Token) {
	s.t.Helper()
	for _, token := range tokens {
		status, answer, err := (&caller{site: s, agent: first}).do(s.t.Context(), http.MethodPost, "/v1/refunds", "charge=ch_ada&amount=1", "", token)
		require.NoError(s.t, err)
		require.GreaterOrEqual(s.t, status, http.StatusUnauthorized, answer)
		require.NotContains(s.t, answer, "unavailable")
	}
	for _, agent := range []*client.Client{first, second} {
		_, err := agent.Mint(s.t.Context(), s.oneRefund())
		require.Error(s.t, err)
		_, refused := errors.AsType[*client.Refusal](err)
		require.True(s.t, refused, "%v", err)
	}
}
