package sources

import (
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/federation/keyset"
)

// unverified reads iss and sub of a token whose signature nobody has looked at.
func unverified(token string) (issuer, subject string) {
	policy := keyset.Policy()
	policy.Types = []string{"", "JWT", "JOSE", "client-authentication+jwt"}
	message, err := jws.Parse(token, policy)
	if err != nil {
		return "", ""
	}
	issuer, _ = message.Hint("iss")
	subject, _ = message.Hint("sub")
	return issuer, subject
}
