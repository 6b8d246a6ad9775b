//go:build long

package graphstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

const killRounds = 500

// TestMillionAgents: a check at 1,000,000 agents with lineage costs at most 1.5
// times that at 1,000; opening reads no data; memory does not grow with it. Each
// size is measured in a process of its own. Run with
// go test -tags long -run TestMillionAgents -v -timeout 60m ./internal/graphstore
func TestMillionAgents(t *testing.T) {
	dir := t.TempDir()
	small := measureAt(t, filepath.Join(dir, "small.db"), 1_000)
	large := measureAt(t, filepath.Join(dir, "large.db"), 1_000_000)
	for _, kind := range checkKinds {
		ratio := large.Check[kind] / small.Check[kind]
		t.Logf("%-6s 1,000: %6.1f µs  1,000,000: %6.1f µs  ratio %.2f", kind, small.Check[kind], large.Check[kind], ratio)
		require.LessOrEqual(t, ratio, 1.5, kind)
	}
	t.Logf("open: %.1f ms and %.1f ms; RSS after open: %d and %d KiB; after the checks: %d and %d KiB; file: %d and %d MiB",
		small.OpenMillis, large.OpenMillis, small.OpenRSS, large.OpenRSS, small.RSS, large.RSS, small.FileMiB, large.FileMiB)
	require.Less(t, large.OpenMillis, small.OpenMillis+50, "opening reads the data")
	require.Less(t, large.RSS, small.RSS+96*1024, "memory grows with the data") // the page caches are bounded
	out, err := json.MarshalIndent(map[string]measured{"1000": small, "1000000": large}, "", "  ")
	require.NoError(t, err)
	artifacts := filepath.Join("..", "..", "artifacts")
	require.NoError(t, os.MkdirAll(artifacts, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(artifacts, "graphstore-million.json"), append(out, '\n'), 0o600))
}

func measureAt(t *testing.T, path string, n int) measured {
	t.Helper()
	s, err := graphstore.Open(context.Background(), graphstore.Config{Path: path})
	require.NoError(t, err)
	began := time.Now()
	fill(t, s, n)
	require.NoError(t, s.Close())
	t.Logf("filled with %d agents in %s", n, time.Since(began).Round(time.Millisecond))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestMeasure$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", measurePath, path), fmt.Sprintf("%s=%d", measureAgents, n))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	return parseMeasured(t, out)
}
