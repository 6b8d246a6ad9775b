package server

import (
	"context"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// checkTimeout bounds one readiness check.
const checkTimeout = 2 * time.Second

// Check says whether a part answers. An error means not ready; it goes to the log, its
// text never to the caller.
type Check struct {
	Name string
	Ask  func(ctx context.Context) error
}

// Healthz answers that the process runs, and asks nobody.
func Healthz(w http.ResponseWriter, _ *http.Request) error {
	return httpx.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Readyz returns a handler that asks every check at once: 200 when all answer, else 503
// "not_ready" that names the first part, in the order given, that did not.
func Readyz(checks []Check) func(http.ResponseWriter, *http.Request) error {
	checks = slices.Clone(checks)
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		failed := make([]error, len(checks))
		var group errgroup.Group
		for i, c := range checks {
			group.Go(func() error { failed[i] = c.Ask(ctx); return nil })
		}
		_ = group.Wait() // each check's error is in failed
		for i, err := range failed {
			if err != nil {
				return &agentid.Error{
					Kind: agentid.KindUnavailable, Reason: "not_ready", Field: checks[i].Name,
					Message: "the part does not answer", Cause: err,
				}
			}
		}
		return httpx.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}
