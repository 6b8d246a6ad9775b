// Package npm gives tests the npm libraries that judge AgentID from outside: an
// OAuth client (oauth4webapi) and Stripe's SDK, at the versions of its lock file.
//
// It owns where they are installed: a folder of the repository's .cache named after
// the lock file's digest, filled by "npm ci" at first use. It is for tests only.
package npm

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

//go:embed package.json
var manifest []byte

//go:embed package-lock.json
var lock []byte

//go:embed .npmrc
var settings []byte

// installTimeout bounds one npm ci.
const installTimeout = 3 * time.Minute

// Install returns a folder whose node_modules holds the libraries, installing them
// when they are not there yet. Processes that install at once do not harm each other.
// Without node and npm the test fails: there is no skipping.
func Install(t testing.TB) string {
	t.Helper()
	dir, err := install(t.Context())
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
	dir := Install(t)
	f, err := os.CreateTemp(dir, "script-*.mjs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	if _, err = f.Write(script); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", f.Name()) //nolint:gosec // a fixed program and a file that we just wrote
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

func install(ctx context.Context) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(append(append([]byte{}, manifest...), lock...))
	cache := filepath.Join(root, ".cache")
	final := filepath.Join(cache, "npm-"+hex.EncodeToString(digest[:8]))
	if _, err = os.Stat(filepath.Join(final, "node_modules")); err == nil {
		return final, nil
	}
	if err = os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // holds public packages
		return "", err
	}
	work, err := os.MkdirTemp(cache, "npm-installing-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for name, content := range map[string][]byte{"package.json": manifest, "package-lock.json": lock, ".npmrc": settings} {
		if err = os.WriteFile(filepath.Join(work, name), content, 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err = os.Rename(work, final); err == nil {
		return final, nil
	}
	if _, serr := os.Stat(filepath.Join(final, "node_modules")); serr == nil {
		return final, nil // another process was faster
	}
	return "", err
}

// moduleRoot is the nearest folder above the working directory that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}
