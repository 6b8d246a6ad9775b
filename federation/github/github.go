// Package github takes the OIDC tokens of GitHub Actions, of github.com and of GitHub
// Enterprise Server.
//
// A token names the repository, the workflow and what started it. Names of repositories
// and owners can be taken over by others after a deletion or a rename: rules should demand
// repository_id or repository_owner_id beside the subject. The default audience, the
// owner's URL, is refused in a rule: it is the same for every service of that owner.
package github

import (
	"errors"
	"strings"
	"time"

	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// Kind is the source's kind.
const Kind = "github"

// Issuer is that of github.com.
const Issuer = "https://token.actions.githubusercontent.com"

// Profile is what is particular to GitHub Actions.
func Profile() jwtsource.Profile {
	return jwtsource.Profile{
		Kind:        Kind,
		MaxLifetime: time.Hour,
		Required:    []string{"repository", "repository_id", "repository_owner_id", "job_workflow_ref"},
		Binding:     []string{"sub", "repository_id"},
		CheckIssuer: func(issuer string) error {
			if strings.HasPrefix(issuer, "https://github.com") || strings.HasPrefix(issuer, "https://api.github.com") {
				return errors.New("is not the issuer of Actions tokens: want " + Issuer)
			}
			return nil
		},
		Shared: func(audience string) bool {
			return strings.HasPrefix(audience, "https://github.com/") || audience == "sts.amazonaws.com" || audience == "api://AzureADTokenExchange"
		},
	}
}
