// Package badsync makes a disk that cannot sync: every fsync of a process fails with EIO,
// as the kernel answers it when a device has lost what was written. It is for tests only.
package badsync

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// child is set in the process whose syncs fail.
const child = "AGENTID_BAD_SYNC"

// Child runs the calling test once more in a process of its own, which may call Break. In
// that process it returns the folder that it was given and true.
func Child(t *testing.T, dir string) (string, bool) {
	t.Helper()
	if given := os.Getenv(child); given != "" {
		return given, true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), child+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, false
}

// Break makes fsync, fdatasync and sync_file_range of this process fail from now on, on
// every thread. There is no way back.
func Break(t *testing.T) {
	t.Helper()
	if os.Getenv(child) == "" {
		t.Fatal("only a process of its own is broken: see Child")
	}
	const number = 0 // of the system call, in what the filter sees
	fail := uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EIO))
	load := unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}
	equal := func(nr uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: skip}
	}
	filter := []unix.SockFilter{
		load,
		equal(unix.SYS_FSYNC, 3),
		equal(unix.SYS_FDATASYNC, 2),
		equal(unix.SYS_SYNC_FILE_RANGE, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: fail},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatalf("no new privileges: %v", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))) //nolint:gosec // the kernel's interface
	if errno != 0 {
		t.Fatalf("the kernel takes no filter: %v", errno)
	}
	f, err := os.CreateTemp(t.TempDir(), "probe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err == nil || !strings.Contains(err.Error(), unix.EIO.Error()) {
		t.Fatalf("a sync does not fail: %v", err)
	}
}
