package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/client"
)

// asks is what an agent may ask for: templates, each followed by its arguments, or
// authorization_details.
type asks struct {
	calls []call
	text  string // --details as given
	raw   json.RawMessage
}

// call is one --template with the --arg flags behind it.
type call struct {
	template string
	pairs    []string
	args     map[string]any
}

func (a *asks) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.VarP(templateFlag{a}, "template", "t", "name of a capability template; repeatable")
	f.VarP(argFlag{a}, "arg", "a", "argument of the template before it, name=value; repeatable")
	f.StringVar(&a.text, "details", "", "authorization_details as JSON, or @file; in place of --template")
}

// templateFlag and argFlag keep the order in which the flags stand.
type (
	templateFlag struct{ asks *asks }
	argFlag      struct{ asks *asks }
)

func (templateFlag) String() string { return "" }
func (templateFlag) Type() string   { return "name" }
func (t templateFlag) Set(name string) error {
	t.asks.calls = append(t.asks.calls, call{template: name})
	return nil
}

func (argFlag) String() string { return "" }
func (argFlag) Type() string   { return "name=value" }
func (f argFlag) Set(pair string) error {
	if len(f.asks.calls) == 0 {
		return usagef("stands behind the --template that it is for")
	}
	last := &f.asks.calls[len(f.asks.calls)-1]
	last.pairs = append(last.pairs, pair)
	return nil
}

// check reads the flags.
func (a *asks) check() error {
	for i := range a.calls {
		var err error
		if a.calls[i].args, err = parseArguments(a.calls[i].pairs); err != nil {
			return err
		}
	}
	if a.text == "" {
		return nil
	}
	if len(a.calls) > 0 {
		return usagef("give --template or --details, not both")
	}
	a.raw = json.RawMessage(a.text)
	if path, file := strings.CutPrefix(a.text, "@"); file {
		var err error
		if a.raw, err = os.ReadFile(path); err != nil {
			return usageError{err}
		}
	}
	if !json.Valid(a.raw) {
		return usagef("--details: is not JSON")
	}
	return nil
}

// requests are one per template, or one for the details.
func (a *asks) requests() []client.TokenRequest {
	if a.raw != nil {
		return []client.TokenRequest{{Details: a.raw}}
	}
	var out []client.TokenRequest
	for _, c := range a.calls {
		out = append(out, client.Template(c.template, c.args))
	}
	return out
}

// parts are all that is asked for, as template calls and capabilities.
func (a *asks) parts() ([]capability.TemplateCall, []capability.Capability, error) {
	if a.raw != nil {
		r, err := capability.ParseRequest(a.raw)
		if err != nil {
			return nil, nil, usagef("--details: %w", err)
		}
		return r.Templates, r.Capabilities, nil
	}
	var out []capability.TemplateCall
	for _, c := range a.calls {
		out = append(out, capability.TemplateCall{Template: c.template, Arguments: c.args})
	}
	return out, nil, nil
}

// ceiling is all that is asked for as one array; nil for nothing.
func (a *asks) ceiling() (json.RawMessage, error) {
	templates, capabilities, err := a.parts()
	if err != nil {
		return nil, err
	}
	return client.TokenRequest{Templates: templates, Capabilities: capabilities}.AuthorizationDetails() //nolint:wrapcheck // names the field
}
