// Package demo runs the worked example: one agent, one refund, everything else refused.
//
// It starts the real server over a folder of its own, declares the example tenant with
// the real apply, and drives Stripe's own SDK through the real proxy and gateway
// against the payments simulator. Every step says what it expects, and the run fails
// when one does not come true.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
)

// Options are how the demo runs.
type Options struct {
	Out     io.Writer
	Err     io.Writer // server log lines, with Verbose
	Color   bool
	Verbose bool // also write the server's log lines
	Keep    bool // leave the data folder behind, and say where
	Apart   bool // broker and gateway over the internal API, with certificates of their own
	Version string
}

// errExpectations means that a step did not do what it must.
var errExpectations = errors.New("the demo did not go as it must")

// Run carries out all steps. The error is nil only when every expectation held.
func Run(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp("", "agentid-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	p := &page{out: o.Out, color: o.Color}
	if o.Keep {
		defer p.note("The data is in " + dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	logger := slog.New(slog.DiscardHandler)
	if o.Verbose {
		logger = slog.New(slog.NewTextHandler(o.Err, nil))
	}
	w, err := newWorld(ctx, dir, o.Apart, logger, o.Version)
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), w.close(ctx))
	}
	defer func() { err = errors.Join(err, w.close(context.WithoutCancel(ctx))) }()
	s := &story{world: w, page: p}
	for _, step := range []func(context.Context) error{
		s.opening, s.refund, s.again, s.overLimit, s.overRefundable, s.otherCustomer, s.subscription, s.stolen, s.frozen, s.auditTrail,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return p.end()
}
