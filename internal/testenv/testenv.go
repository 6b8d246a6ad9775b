// Package testenv is what the tests run against that others wrote: OpenID providers,
// browsers, client libraries, a SPIFFE Workload API. Each has a folder of its own here.
//
// This package owns where the repository's root is and how its tools module is built.
// It is for tests only.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Root is the nearest folder above the working directory that holds the root's go.mod.
func Root() (string, error) {
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

// BuildTool builds a program of the tools module ("./zitadelop", or the path of a
// package that tools/go.mod pins) into .cache/tools under its name and returns the
// binary's path. Processes that build at once do not harm each other.
func BuildTool(ctx context.Context, pkg string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "tools")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // holds programs built from public source
		return "", err
	}
	work, err := os.MkdirTemp(dir, "building-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	name := filepath.Base(pkg)
	built, final := filepath.Join(work, name), filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(root, "tools"), "build", "-o", built, pkg) //nolint:gosec // a package that the caller, a test, names
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return final, os.Rename(built, final)
}
