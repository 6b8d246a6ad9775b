// Package examples holds the example configurations and declarations that ship with
// AgentID. The demo and the tests use these very files, so that they stay true.
package examples

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed acme.yaml
var acme string

//go:embed lineage.yaml
var lineage string

//go:embed people.yaml
var people string

// People is people.yaml: an identity provider with what its groups give, beside Acme.
func People() string { return people }

// Lineage is lineage.yaml: a type of agent that spawns agents, beside Acme.
func Lineage() string { return lineage }

// Acme is acme.yaml: a tenant with a payments connector, an agent type, templates and
// grants, as one YAML stream.
func Acme() string { return acme }

// AcmeAt is acme.yaml for a gateway and an upstream of one machine, with the upstream's
// credential by the given reference.
func AcmeAt(resource, upstream, credential string) (string, error) {
	text := acme
	for _, r := range [][2]string{
		{"resource: http://127.0.0.1:7421", "resource: " + resource},
		{"upstream: https://api.stripe.com", "upstream: " + upstream + "\nallow_private_upstream: true"},
		{"credential: env:STRIPE_KEY", "credential: " + credential},
	} {
		if strings.Count(text, r[0]) != 1 {
			return "", fmt.Errorf("acme.yaml no longer holds %q once", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text, nil
}
