package graphstore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

const (
	measurePath   = "AGENTID_GRAPH_MEASURE_PATH"
	measureAgents = "AGENTID_GRAPH_MEASURE_AGENTS"
	measureMark   = "measured:"
)

// measured is what one process found at one size.
type measured struct {
	OpenMillis float64
	OpenRSS    int // KiB
	RSS        int // KiB, after the checks
	FileMiB    int64
	Check      map[string]float64 // µs for one check, by kind
	CPU        map[string]float64 // µs of this process's processor time for one check, by kind
}

// TestMeasure measures a filled store. Started by TestMillionAgents it uses that
// one's file; by itself, a small one of its own.
func TestMeasure(t *testing.T) {
	path, n, rounds := os.Getenv(measurePath), 100, 50
	if path != "" {
		var err error
		n, err = strconv.Atoi(os.Getenv(measureAgents))
		require.NoError(t, err)
		rounds = 8_000
	} else {
		path = filepath.Join(t.TempDir(), "graph.db")
		s, err := graphstore.Open(context.Background(), graphstore.Config{Path: path})
		require.NoError(t, err)
		fill(t, s, n)
		require.NoError(t, s.Close())
	}
	m := measured{Check: map[string]float64{}, CPU: map[string]float64{}}
	began := time.Now()
	s := open(t, graphstore.Config{Path: path})
	m.OpenMillis = float64(time.Since(began).Microseconds()) / 1000
	m.OpenRSS = rss(t)
	p := checker(t, s)
	for _, kind := range checkKinds {
		for range rounds / 10 { // warm
			ask(t, p, kind, rand.IntN(n))
		}
		began, used := time.Now(), cpu(t)
		for range rounds {
			ask(t, p, kind, rand.IntN(n))
		}
		m.Check[kind] = float64(time.Since(began).Nanoseconds()) / 1000 / float64(rounds)
		m.CPU[kind] = float64((cpu(t) - used).Nanoseconds()) / 1000 / float64(rounds)
	}
	m.RSS = rss(t)
	info, err := os.Stat(path)
	require.NoError(t, err)
	m.FileMiB = info.Size() >> 20
	out, err := json.Marshal(m)
	require.NoError(t, err)
	fmt.Fprintln(os.Stdout, measureMark+string(out))
}

func parseMeasured(t *testing.T, out []byte) measured {
	t.Helper()
	_, rest, ok := bytes.Cut(out, []byte(measureMark))
	require.True(t, ok, "%s", out)
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	var m measured
	require.NoError(t, json.Unmarshal(line, &m))
	return m
}

func TestParseMeasured(t *testing.T) {
	require.Equal(t, measured{RSS: 7}, parseMeasured(t, []byte("x\nmeasured:{\"RSS\":7}\ny")))
}

// cpu is the processor time that this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is this process's resident memory in KiB, after giving back what is unused.
func rss(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, ok := bytes.Cut(status, []byte("VmRSS:"))
	require.True(t, ok)
	var kib int
	_, err = fmt.Sscan(string(rest), &kib)
	require.NoError(t, err)
	return kib
}
