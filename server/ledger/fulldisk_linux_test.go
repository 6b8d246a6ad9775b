package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

const fullDiskChild = "AGENTID_LEDGER_FULL_DISK"

// TestFullDisk fills a real, small file system. The mount lives in a namespace of a
// child process, so it needs either root or user namespaces, and leaves nothing.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDiskChild); dir != "" {
		require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"))
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
			require.Contains(t, string(out), "before the disk was full")
			t.Logf("%s", out)
			return
		}
		fmt.Fprintf(&said, "%v\n%s\n", err, out)
	}
	t.Fatalf("could not run with a file system of its own (needs root or user namespaces), or failed there:\n%s", said.String())
}

func testFullDisk(t *testing.T, dir string) {
	t.Helper()
	clock, key := ledgertest.NewClock(), newKey(t)
	path := filepath.Join(dir, "ledger.db")
	l := openAt(t, path, key, clock)
	ledgertest.Populate(t, l, "acme")
	held, err := l.Reserve(t.Context(), ledgertest.Refund(t, clock, "before"))
	require.NoError(t, err)

	acked := fill(t, l, clock, filepath.Join(dir, "ballast"))
	require.NotEmpty(t, acked)
	t.Logf("%d reservations were acknowledged before the disk was full", len(acked))

	// Full: writes are refused as unavailable and leave nothing, reads work.
	refused := ledgertest.Refund(t, clock, "refused")
	refused.Record.Notes = padding()
	_, err = l.Reserve(t.Context(), refused)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
	err = l.Settle(t.Context(), wire.Settlement{ID: held.ID, Outcome: wire.Done, Record: pad(ledgertest.Finish("before"))})
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
	err = l.Append(t.Context(), pad(ledgertest.Begin("refused")), wire.Relaxed)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
	_, err = l.Principal(t.Context(), ledgertest.Ref(t, "principal:acme/alice"))
	require.NoError(t, err)
	page, err := l.Audit().Query(t.Context(), auditlog.Query{Request: "refused"})
	require.NoError(t, err)
	require.Empty(t, page.Records)
	open, err := l.Audit().Open(t.Context(), "acme")
	require.NoError(t, err)
	require.NotEmpty(t, open)

	// Room again: it recovers by itself.
	require.NoError(t, os.Remove(filepath.Join(dir, "ballast")))
	require.NoError(t, l.Settle(t.Context(), wire.Settlement{ID: held.ID, Outcome: wire.Done, Record: ledgertest.Finish("before")}))
	after, err := l.Reserve(t.Context(), refused)
	require.NoError(t, err)
	require.Empty(t, after.Ahead, "what was refused holds nothing")
	require.NoError(t, l.Close())

	l = openAt(t, path, key, clock)
	seen := map[string]bool{}
	for i, r := range readAll(t, l, 0) {
		require.Equal(t, int64(i+1), r.Seq)
		seen[r.Request] = true
	}
	for _, id := range acked {
		require.True(t, seen[id], "acknowledged %s is lost", id)
	}
	require.NoError(t, l.Close())
}

// fill takes most of the room that is left, lets eight writers go on until all are
// refused, so that batches of several callers fail together, and takes what is still
// left for small writes.
func fill(t *testing.T, l *ledger.Ledger, clock *ledgertest.Clock, path string) []string {
	t.Helper()
	ballast(t, path, 2<<20)
	var mu sync.Mutex
	var acked []string
	var wg sync.WaitGroup
	write := func(worker string) {
		for i := range 10_000 {
			id := fmt.Sprintf("fill-%s-%d", worker, i)
			r := ledgertest.Refund(t, clock, id)
			r.HoldKey, r.Record = "acme/fill/"+id, pad(r.Record)
			_, err := l.Reserve(context.Background(), r)
			if err != nil {
				if agentid.KindOf(err) != agentid.KindUnavailable {
					t.Errorf("refused with another kind: %v", err)
				}
				return
			}
			mu.Lock()
			acked = append(acked, id)
			mu.Unlock()
		}
		t.Error("the disk was never full")
	}
	for worker := range 8 {
		wg.Go(func() { write(strconv.Itoa(worker)) })
	}
	wg.Wait()
	ballast(t, path, 0)
	write("last")
	for err := error(nil); err == nil; { // what a refused write left in the WAL may hold a smaller one
		err = l.Append(t.Context(), auditlog.Record{Kind: auditlog.Admin, Phase: auditlog.Single}, wire.Durable)
	}
	return acked
}

// ballast grows the file at path until only so much room is left.
func ballast(t *testing.T, path string, leave int64) {
	t.Helper()
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(filepath.Dir(path), &st))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	if more := int64(st.Bavail)*st.Bsize - leave; more > 0 {
		err = unix.Fallocate(int(f.Fd()), 0, info.Size(), more)
	}
	require.NoError(t, errors.Join(err, f.Close()))
}

func padding() map[string]string {
	notes := map[string]string{}
	for i := range 15 {
		notes[fmt.Sprintf("n%d", i)] = strings.Repeat("x", 500)
	}
	return notes
}

func pad(r auditlog.Record) auditlog.Record {
	r.Notes = padding()
	r.Time = time.Time{}
	return r
}
