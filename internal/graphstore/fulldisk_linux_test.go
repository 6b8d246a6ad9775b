package graphstore_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/graphstore"
)

const fullDiskChild = "AGENTID_GRAPH_FULL_DISK"

// TestFullDisk fills a real, small file system. The mount lives in a namespace of
// a child process, so it needs either root or user namespaces, and leaves nothing.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDiskChild); dir != "" {
		require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"))
		testFullDisk(t, dir)
		return
	}
	var said bytes.Buffer
	for _, flags := range []uintptr{syscall.CLONE_NEWNS, syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFullDisk$", "-test.v")
		cmd.Env = append(os.Environ(), fullDiskChild+"="+t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if err == nil {
			require.Contains(t, string(out), "--- PASS: TestFullDisk")
			t.Log(lastLine(string(out)))
			return
		}
		fmt.Fprintf(&said, "%v\n%s\n", err, out)
	}
	t.Fatalf("could not run with a file system of its own (needs root or user namespaces), or failed there:\n%s", said.String())
}

func lastLine(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "refused") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func testFullDisk(t *testing.T, dir string) {
	t.Helper()
	ctx := context.Background()
	path := filepath.Join(dir, "graph.db")
	s, err := graphstore.Open(ctx, graphstore.Config{Path: path})
	require.NoError(t, err)
	write(t, s, touch("document:first#viewer@user:x"))
	ballast := filepath.Join(dir, "ballast")
	acked := 0
	for round := range 3 {
		require.NoError(t, os.WriteFile(ballast, make([]byte, 3<<20), 0o600))
		refused := writeUntilRefused(t, s, round, &acked)
		require.Equal(t, agentid.KindUnavailable, agentid.KindOf(refused), "%v", refused)
		for range 5 { // it stays refused, and stays readable
			_, err := s.ReadWriteTx(ctx, func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
				return rwt.WriteRelationships(ctx, bulk("again", round, 200))
			})
			require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
			require.Len(t, all(t, s, headOf(t, s), "document"), acked+1)
		}
		state, err := s.ReadyState(ctx)
		require.NoError(t, err)
		require.True(t, state.IsReady)
		require.NoError(t, os.Remove(ballast))
		write(t, s, touch("folder:recovered%d#viewer@user:x", round))
		require.Len(t, all(t, s, headOf(t, s), "folder"), round+1, "no restart was needed")
	}
	require.NoError(t, s.Close())
	s = open(t, graphstore.Config{Path: path})
	require.Len(t, all(t, s, headOf(t, s), "document"), acked+1, "every acknowledged write, and none of the refused")
	t.Logf("three times refused when full, %d relationships acknowledged, all there", acked)
}

func writeUntilRefused(t *testing.T, s ds.Datastore, round int, acked *int) error {
	t.Helper()
	for i := range 1000 {
		_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
			return rwt.WriteRelationships(ctx, bulk(fmt.Sprintf("r%d-%d", round, i), round, 50))
		})
		if err != nil {
			return err
		}
		*acked += 50
	}
	t.Fatal("the disk never filled")
	return nil
}

func bulk(name string, round, n int) []tuple.RelationshipUpdate {
	var out []tuple.RelationshipUpdate
	for i := range n {
		out = append(out, touch("document:%s-%d-%d#viewer@user:somebody%d", name, round, i, i))
	}
	return out
}
