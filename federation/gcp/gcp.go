// Package gcp takes Google-signed ID tokens of service accounts, as the metadata server
// and the IAM credentials API hand them out.
//
// The subject is the account's number, which is never given to another. With the full
// format a token also names project, zone and instance. The caller chooses the audience.
// Tokens of people's Google accounts, which have the same issuer, are refused.
package gcp

import (
	"errors"
	"strings"
	"time"

	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// Kind is the source's kind.
const Kind = "gcp"

// Issuer is Google's.
const Issuer = "https://accounts.google.com"

// Profile is what is particular to Google Cloud. email is a claim to match only when
// Google says that it is verified.
func Profile() jwtsource.Profile {
	return jwtsource.Profile{
		Kind:        Kind,
		MaxLifetime: time.Hour,
		Required:    []string{"azp"},
		Binding:     []string{"sub", "google.compute_engine.instance_id"},
		Check:       check,
		CheckIssuer: func(issuer string) error {
			if strings.HasPrefix(issuer, "https://") && issuer != Issuer && !loopback(issuer) {
				return errors.New("is not Google's: want " + Issuer)
			}
			return nil
		},
		Shared: func(audience string) bool {
			return strings.HasPrefix(audience, "//iam.googleapis.com/") || strings.HasSuffix(audience, ".googleapis.com/") ||
				strings.HasSuffix(audience, ".apps.googleusercontent.com") || audience == "sts.amazonaws.com"
		},
	}
}

func loopback(issuer string) bool {
	return strings.HasPrefix(issuer, "https://127.") || strings.HasPrefix(issuer, "https://localhost")
}

// check refuses subjects that are no account numbers, and takes an email that nobody
// verified out of what a rule can match.
func check(c federation.Claims) error {
	subject, _ := c.Text("sub")
	if strings.Trim(subject, "0123456789") != "" {
		return federation.Refuse(federation.ReasonClaim, "sub", "is not the number of an account", nil)
	}
	if verified, _ := c.Text("email_verified"); verified != "true" {
		delete(c, "email")
	}
	if email, ok := c.Text("email"); ok && !strings.HasSuffix(email, ".gserviceaccount.com") {
		return federation.Refuse(federation.ReasonClaim, "email", "is not that of a service account", nil)
	}
	return nil
}
