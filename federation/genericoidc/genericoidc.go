// Package genericoidc takes the tokens of any other issuer that publishes its keys as
// OpenID Connect Discovery has it: GitLab, Buildkite, HashiCorp Vault, an AI platform that
// names its agents. It knows no claims: a rule has to bind the subject.
package genericoidc

import (
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// Kind is the source's kind.
const Kind = "oidc"

// Profile is the plain one.
func Profile() jwtsource.Profile {
	return jwtsource.Profile{
		Kind:    Kind,
		Binding: []string{"sub"},
		Shared: func(audience string) bool {
			switch audience {
			case "sts.amazonaws.com", "api://AzureADTokenExchange", "https://gitlab.com", "https://kubernetes.default.svc":
				return true
			}
			return false
		},
	}
}
