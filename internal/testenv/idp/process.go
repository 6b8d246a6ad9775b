package idp

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/agentid-dev/agentid/internal/testenv"
	"github.com/agentid-dev/agentid/internal/testenv/npm"
)

//go:embed testdata/oidcprovider.mjs
var script []byte

// Bounds of a provider's start and of its end.
const (
	answerTimeout = time.Minute
	endTimeout    = 5 * time.Second
)

// process is a provider that reads configurations and answers each in one line.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errs   *tail
	remove func()
}

type answer struct {
	Issuer string `json:"issuer"`
	Port   int    `json:"port"`
}

func launch(ctx context.Context, kind Kind) (*process, error) {
	p := &process{errs: &tail{}, remove: func() {}}
	switch kind {
	case OIDCProvider:
		cmd, remove, err := npm.Command(ctx, script)
		if err != nil {
			return nil, err
		}
		p.cmd, p.remove = cmd, remove
	case Zitadel:
		binary, err := testenv.BuildTool(ctx, "./zitadelop")
		if err != nil {
			return nil, err
		}
		p.cmd = exec.CommandContext(ctx, binary) //nolint:gosec // a tool that was just built
	default:
		return nil, fmt.Errorf("no such provider: %s", kind)
	}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	p.cmd.Stderr = p.errs
	if err = p.cmd.Start(); err != nil {
		p.remove()
		return nil, err
	}
	return p, nil
}

func (p *process) ask(line []byte) (answer, error) {
	stuck := time.AfterFunc(answerTimeout, func() { _ = p.cmd.Process.Kill() })
	defer stuck.Stop()
	var a answer
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, fmt.Errorf("write to the provider: %w\n%s", err, p.errs)
	}
	text, err := p.out.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("the provider's answer: %w\n%s", err, p.errs)
	}
	return a, json.Unmarshal(text, &a)
}

// end closes the standard input, which ends the provider, and kills what does not end.
func (p *process) end() {
	_ = p.in.Close()
	stuck := time.AfterFunc(endTimeout, func() { _ = p.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = p.cmd.Wait()
	p.remove()
}
