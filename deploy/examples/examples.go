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

//go:embed workloads.yaml
var workloads string

// WorkloadsAt is workloads.yaml for an issuer and a broker of one machine.
func WorkloadsAt(issuer, tenantIssuer string) (string, error) {
	return replaceOnce("workloads.yaml", workloads, [][2]string{
		{"issuer: https://token.actions.githubusercontent.com", "issuer: " + issuer + "\nallow_private: true"},
		{"audience: http://127.0.0.1:7420/acme", "audience: " + tenantIssuer},
	})
}

// Lineage is lineage.yaml: a type of agent that spawns agents, beside Acme.
func Lineage() string { return lineage }

// Acme is acme.yaml: a tenant with a payments connector, an agent type, templates and
// grants, as one YAML stream.
func Acme() string { return acme }

// AcmeAt is acme.yaml for a gateway and an upstream of one machine, with the upstream's
// credential by the given reference.
func AcmeAt(resource, upstream, credential string) (string, error) {
	return replaceOnce("acme.yaml", acme, [][2]string{
		{"resource: http://127.0.0.1:7421", "resource: " + resource},
		{"upstream: https://api.stripe.com", "upstream: " + upstream + "\nallow_private_upstream: true"},
		{"credential: env:STRIPE_KEY", "credential: " + credential},
	})
}

func replaceOnce(file, text string, pairs [][2]string) (string, error) {
	for _, r := range pairs {
		if strings.Count(text, r[0]) != 1 {
			return "", fmt.Errorf("%s no longer holds %q once", file, r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text, nil
}
