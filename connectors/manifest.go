package connectors

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
)

// manifest is the YAML text as written; compile.go checks it and makes a Kind of it.
type manifest struct {
	Kind        string                      `yaml:"kind"`
	Account     string                      `yaml:"account"`
	Dialect     string                      `yaml:"dialect"`
	Credential  credentialYAML              `yaml:"credential"`
	Idempotency idempotencyYAML             `yaml:"idempotency"`
	Body        bodyYAML                    `yaml:"body"`
	Headers     headersYAML                 `yaml:"headers"`
	Environment environmentYAML             `yaml:"environment"`
	IDs         map[string]string           `yaml:"ids"`
	Resources   map[string]resourceTypeYAML `yaml:"resources"`
	Lookups     map[string]lookupYAML       `yaml:"lookups"`
	Operations  map[string]operationYAML    `yaml:"operations"`
}

type credentialYAML struct {
	Header   string `yaml:"header"`
	Scheme   string `yaml:"scheme"`
	Rejected []int  `yaml:"rejected"`
}

type idempotencyYAML struct {
	Header    string `yaml:"header"`
	MaxLength int    `yaml:"max_length"`
}

type bodyYAML struct {
	MaxBytes      int64 `yaml:"max_bytes"`
	MaxParameters int   `yaml:"max_parameters"`
}

type headersYAML struct {
	Forward []string `yaml:"forward"`
	Refuse  []string `yaml:"refuse"`
	Respond []string `yaml:"respond"`
}

type environmentYAML struct {
	BaseURL     []string `yaml:"base_url"`
	Placeholder []string `yaml:"placeholder"`
}

type resourceTypeYAML struct {
	Ancestors []string `yaml:"ancestors"`
}

type lookupYAML struct {
	Path   string             `yaml:"path"`
	Object string             `yaml:"object"`
	Same   map[string]string  `yaml:"same"`
	Sets   map[string]setYAML `yaml:"sets"`
}

type setYAML struct {
	Field    string `yaml:"field"`
	Minus    string `yaml:"minus"`
	ID       string `yaml:"id"`
	Currency bool   `yaml:"currency"`
	Required bool   `yaml:"required"`
}

type operationYAML struct {
	Effect      string               `yaml:"effect"`
	Method      string               `yaml:"method"`
	Path        string               `yaml:"path"`
	ContentType string               `yaml:"content_type"`
	Permission  string               `yaml:"permission"`
	Barred      string               `yaml:"barred"`
	Inputs      map[string]inputYAML `yaml:"inputs"`
	ExactlyOne  []string             `yaml:"exactly_one"`
	Pass        []string             `yaml:"pass"`
	Lookups     []string             `yaml:"lookups"`
	Derived     map[string]string    `yaml:"derived"`
	Resource    resourceYAML         `yaml:"resource"`
	Context     map[string]string    `yaml:"context"`
	Hold        *holdYAML            `yaml:"hold"`
	Facts       []string             `yaml:"facts"`
}

type inputYAML struct {
	In        string   `yaml:"in"`
	Parameter string   `yaml:"parameter"`
	Type      string   `yaml:"type"`
	ID        string   `yaml:"id"`
	Currency  string   `yaml:"currency"`
	Values    []string `yaml:"values"`
	Max       int      `yaml:"max_length"`
	Required  bool     `yaml:"required"`
}

type resourceYAML struct {
	Type      string `yaml:"type"`
	Name      string `yaml:"name"`
	Otherwise string `yaml:"otherwise"`
}

type holdYAML struct {
	Key    string `yaml:"key"`
	Amount string `yaml:"amount"`
	Fact   string `yaml:"fact"`
	Lookup string `yaml:"lookup"`
}

// decode reads exactly one YAML document; unknown and repeated keys are refused with
// their line.
func decode(text []byte) (manifest, error) {
	var m manifest
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(&m); err != nil {
		return manifest{}, fmt.Errorf("connector manifest: %w", err)
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return manifest{}, errors.New("connector manifest: holds more than one document")
	}
	return m, nil
}
