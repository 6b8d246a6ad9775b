// Package aws takes what AWS says of a role's session: the JWT of STS GetWebIdentityToken,
// and a presigned GetCallerIdentity request.
//
// A JWT is verified as any other; the issuer is one account's. A presigned request is a
// URL whose signature only AWS can check: it is held against strict rules here, sent to STS
// by the broker, and what STS answers is the identity.
package aws

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// Kind is the source's kind for JWTs.
const Kind = "aws"

// Namespace is before the flat names of AWS's own claims.
const Namespace = "https://sts.amazonaws.com/."

var (
	issuers = regexp.MustCompile(`\Ahttps://[0-9a-f-]{36}\.tokens\.sts\.global\.api\.aws\z`)
	roleARN = regexp.MustCompile(`\Aarn:aws[a-z-]*:(?:iam|sts)::([0-9]{12}):[A-Za-z0-9+=,.@_/-]+\z`)
)

// Profile is what is particular to GetWebIdentityToken. Request tags are chosen by the
// caller: a rule that demands nothing else is refused.
func Profile() jwtsource.Profile {
	return jwtsource.Profile{
		Kind:        Kind,
		Algorithms:  []jose.SignatureAlgorithm{jose.ES384, jose.RS256},
		MaxLifetime: time.Hour,
		Required:    []string{Namespace + "aws_account"},
		Binding:     []string{"sub"},
		Check:       check,
		CheckIssuer: func(issuer string) error {
			if strings.HasPrefix(issuer, "https://") && !issuers.MatchString(issuer) && !strings.HasPrefix(issuer, "https://127.") {
				return errors.New("want https://{id}.tokens.sts.global.api.aws, the account's own issuer")
			}
			return nil
		},
		Shared: func(audience string) bool {
			return audience == "sts.amazonaws.com" || audience == "https://sts.amazonaws.com"
		},
	}
}

// check holds the account against the subject's.
func check(c federation.Claims) error {
	subject, _ := c.Text("sub")
	account, _ := c.Text(Namespace + "aws_account")
	m := roleARN.FindStringSubmatch(subject)
	if m == nil {
		return federation.Refuse(federation.ReasonClaim, "sub", "is not the ARN of a role", nil)
	}
	if m[1] != account {
		return federation.Refuse(federation.ReasonClaim, Namespace+"aws_account", "is another account than the subject's", nil)
	}
	return nil
}
