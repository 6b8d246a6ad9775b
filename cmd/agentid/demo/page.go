package demo

import (
	"fmt"
	"io"
	"strings"
)

// page prints the story and counts what did not come true.
type page struct {
	out    io.Writer
	color  bool
	step   int
	held   int
	failed int
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p *page) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *page) line(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

// title begins a step.
func (p *page) title(text string) {
	p.step++
	p.line("\n%s", p.paint(bold, fmt.Sprintf("%2d. %s", p.step, text)))
}

// note explains, in the background.
func (p *page) note(text string) {
	for l := range strings.SplitSeq(text, "\n") {
		p.line("    %s", p.paint(dim, l))
	}
}

// expect checks one expectation and prints it as it turned out.
func (p *page) expect(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if ok {
		p.held++
		p.line("    %s %s", p.paint(green, "✓"), text)
		return
	}
	p.failed++
	p.line("    %s %s", p.paint(red, "✗ NOT AS EXPECTED:"), text)
}

// end prints the verdict.
func (p *page) end() error {
	if p.failed > 0 {
		p.line("\n%s", p.paint(red, fmt.Sprintf("%d of %d expectations did not hold.", p.failed, p.failed+p.held)))
		return errExpectations
	}
	p.line("\n%s", p.paint(green, fmt.Sprintf("All %d expectations held.", p.held)))
	return nil
}
