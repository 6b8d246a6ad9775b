package agentrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/connectors"
)

// Exit codes for a command that could not be started, as shells give them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
	exitSignal        = 128 // plus the number of the signal that killed the command
)

const (
	// retireFor is how long a retirement is tried for.
	retireFor = 20 * time.Second
	// pipesFor is how long output of a command that has ended is waited for, where a
	// process that it left behind holds it open.
	pipesFor = 2 * time.Second
)

// Config is a command and the agent that it is.
type Config struct {
	Agent    *client.Client
	Requests []client.TokenRequest // what the agent asks for; each is for one connector
	Kinds    map[string]*connectors.Kind

	Command     []string
	Environment []string // of the caller; "NAME=value"
	Hidden      []string // names in Environment that the command does not get
	Stdin       io.Reader
	Stdout      io.Writer
	Stderr      io.Writer
	Signals     <-chan os.Signal // passed on to the command

	Connect     string         // host:port of the gateway, where a resource's own name does not lead there
	LocalSecret agentid.Secret // what the SDK must send as its API key; zero: nothing
	PerEffect   bool           // a fresh token for each request that is not a read

	// Retire ends the agent; nil: the agent retires itself. An error means that it may
	// still be there: it is tried again.
	Retire func(ctx context.Context) error
	Logger *slog.Logger
}

// Run starts the command and gives its exit code when it has ended and the agent is
// retired. An error means that the command was not started; the agent is retired then,
// too. ctx bounds what comes before the start: a running command ends by itself or by a
// signal.
func Run(ctx context.Context, cfg Config) (code int, err error) {
	defer cfg.retire(context.WithoutCancel(ctx))
	if len(cfg.Command) == 0 {
		return 0, agentid.Invalidf("command", "name a command")
	}
	path, err := exec.LookPath(cfg.Command[0])
	if err != nil {
		return notStarted(err), err //nolint:wrapcheck // names the command
	}
	proxies, err := cfg.proxies(ctx)
	if err != nil {
		return 0, err
	}
	defer proxies.close(context.WithoutCancel(ctx))
	environment, err := cfg.environment(proxies)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil { // a signal came first
		return 0, err //nolint:wrapcheck // says it all
	}
	cmd := &exec.Cmd{
		Path: path, Args: cfg.Command, Env: environment,
		Stdin: cfg.Stdin, Stdout: cfg.Stdout, Stderr: cfg.Stderr, WaitDelay: pipesFor,
	}
	if err := cmd.Start(); err != nil {
		return notStarted(err), fmt.Errorf("start: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-cfg.Signals:
			cfg.pass(cmd.Process, s)
		case err := <-done:
			return exitCode(cmd.ProcessState, err), nil
		}
	}
}

// notStarted is the exit code of a command that could not be started.
func notStarted(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return ExitNotFound
	}
	return ExitNotExecutable
}

// exitCode is what a shell would give.
func exitCode(state *os.ProcessState, err error) int {
	if state == nil {
		return 1
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	if code := state.ExitCode(); code != 0 || err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return code
	}
	return 1 // its input or output broke
}

// pass sends a signal to the command, unless the terminal has sent it already.
func (c Config) pass(p *os.Process, s os.Signal) {
	if (s == syscall.SIGINT || s == syscall.SIGQUIT) && foreground() {
		return // typed: it went to the whole group
	}
	if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.Logger.Warn("a signal could not be passed on", "signal", s.String(), "error", err.Error())
	}
}

// retire ends the agent with its descendants, and says so when it cannot.
func (c Config) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retireFor)
	defer cancel()
	retire := c.Retire
	if retire == nil {
		retire = func(ctx context.Context) error {
			_, err := c.Agent.Retire(ctx)
			return err //nolint:wrapcheck // a Refusal says it all
		}
	}
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := retire(ctx)
		if err == nil {
			return
		}
		refused, definite := errors.AsType[*client.Refusal](err)
		if definite && refused.Status == http.StatusUnauthorized {
			return // it was retired meanwhile, by somebody or by an attempt whose answer was lost
		}
		definite = definite && agentid.KindOf(refused.AsError()) != agentid.KindUnavailable && refused.Status != http.StatusTooManyRequests
		if !definite {
			select {
			case <-ctx.Done():
			case <-time.After(wait):
				continue
			}
		}
		c.Logger.Error("the agent could not be retired: its lifetime ends it", "agent", c.Agent.Agent().String(), "error", err.Error())
		return
	}
}
