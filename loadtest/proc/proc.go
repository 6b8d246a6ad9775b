package proc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Spec is a process to be.
type Spec struct {
	Name    string
	Command []string
	Dir     string
	Env     []string // added to the environment
	// Ready is a piece of a line on standard output or error that says that requests are
	// served; empty: at once, and the caller asks by itself.
	Ready string
	Wait  time.Duration // for Ready; 30 s when zero
}

// Process is a running process group.
type Process struct {
	Name string
	Line string // the line that Ready was found in

	cmd    *exec.Cmd
	exited chan struct{}
	mu     sync.Mutex
	tail   []string // the latest lines
}

const tailLines = 40

// Start starts it and waits for readiness. On an error nothing is left running.
func Start(ctx context.Context, s Spec) (*Process, error) {
	if len(s.Command) == 0 {
		return nil, fmt.Errorf("%s: no command", s.Name)
	}
	if s.Wait <= 0 {
		s.Wait = 30 * time.Second
	}
	cmd := exec.Command(s.Command[0], s.Command[1:]...) //nolint:gosec,noctx // the stacks are named by the caller; ended by Stop
	cmd.Dir = s.Dir
	cmd.Env = append(cmd.Environ(), s.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &Process{Name: s.Name, cmd: cmd, exited: make(chan struct{})}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	ready := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() { p.read(reader, s.Ready, ready) })
	go func() {
		_ = cmd.Wait()
		_ = writer.Close()
		reading.Wait()
		close(p.exited)
	}()
	if s.Ready == "" {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	select {
	case p.Line = <-ready:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended before it was ready:\n%s", s.Name, p.Tail())
	case <-ctx.Done():
		p.Stop()
		return nil, fmt.Errorf("%s was not ready in time: %w\n%s", s.Name, ctx.Err(), p.Tail())
	}
}

func (p *Process) read(r io.Reader, piece string, ready chan<- string) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if line != "" {
			p.mu.Lock()
			p.tail = append(p.tail[max(0, len(p.tail)-tailLines+1):], line)
			p.mu.Unlock()
		}
		if piece != "" && strings.Contains(line, piece) {
			select {
			case ready <- line:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// Tail is the latest lines that the process wrote.
func (p *Process) Tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "\n")
}

// PID is the leader's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the leader has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

const graceful = 10 * time.Second

// Stop asks the group to end, and kills what does not.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(graceful):
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.exited
}

// Output runs a command to its end and gives what it printed.
func Output(ctx context.Context, command ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // named by the caller
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), errors.Join(fmt.Errorf("%s: %w", command[0], err), errors.New(strings.TrimSpace(out.String())))
	}
	return out.String(), nil
}
