package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// profiled is how long a profile is taken: long enough for some hundred samples.
const profiled = 5 * time.Second

// profile loads an entry once more, outside of the rounds, and writes a CPU profile of each
// of its processes that serves one: FOLDER/reads-agentid.pprof.
func (b *bench) profile(ctx context.Context, w workload, s *state) error {
	if b.profiles == "" || len(s.stack.profiles) == 0 {
		return nil
	}
	const readable = 0o755
	if err := os.MkdirAll(b.profiles, readable); err != nil {
		return err //nolint:wrapcheck // names the folder
	}
	group, gctx := errgroup.WithContext(ctx)
	for process, addr := range s.stack.profiles {
		name := strings.ReplaceAll(strings.Join(slices.DeleteFunc([]string{w.name, s.as, process}, func(part string) bool { return part == "" }), "-"), " ", "-") + ".pprof"
		group.Go(func() error { return save(gctx, addr, filepath.Join(b.profiles, name)) })
	}
	group.Go(func() error { return b.one(gctx, w, s, profiled+profiled/5, nil) })
	return group.Wait() //nolint:wrapcheck // says what failed
}

// save asks a process for its CPU profile and writes it to path.
func save(ctx context.Context, addr, path string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", addr, profiled.Seconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err //nolint:wrapcheck // our own
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err //nolint:wrapcheck // names the address
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w %d", errStatus, resp.StatusCode)
	}
	f, err := os.Create(path)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
