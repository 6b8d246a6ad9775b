package npm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/agentid-dev/agentid/internal/testenv"
)

// installTimeout bounds one npm ci.
const installTimeout = 5 * time.Minute

// set is libraries with one lock file.
type set struct {
	name           string // of its folders in .cache
	manifest, lock []byte
}

// install returns the folder that holds node_modules, filling it when it is not there yet.
func (s set) install(ctx context.Context) (string, error) {
	root, err := testenv.Root()
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(slices.Concat(s.manifest, s.lock))
	cache := filepath.Join(root, ".cache")
	final := filepath.Join(cache, s.name+"-"+hex.EncodeToString(digest[:8]))
	if there(final) {
		return final, nil
	}
	if err = os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // holds public packages
		return "", err
	}
	work, err := os.MkdirTemp(cache, s.name+"-installing-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err = s.fill(ctx, work); err != nil {
		return "", err
	}
	if err = os.Rename(work, final); err != nil && there(final) {
		return final, nil // another process was faster
	}
	return final, err
}

func there(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "node_modules"))
	return err == nil
}

func (s set) fill(ctx context.Context, dir string) error {
	for name, content := range map[string][]byte{"package.json": s.manifest, "package-lock.json": s.lock, ".npmrc": settings} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}
