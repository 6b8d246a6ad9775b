package tokens

import (
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
)

// Bounds on a token request.
const (
	maxBody   = 64 << 10
	maxFields = 32
	maxScope  = 32 // operations
)

var formRules = httpx.FormRules{MaxBytes: maxBody, MaxFields: maxFields, Repeatable: []string{"resource", "audience"}}

func grantType(form httpx.Form) (string, error) {
	switch grant := form.Get("grant_type"); grant {
	case discovery.GrantClientCredentials, discovery.GrantTokenExchange, discovery.GrantJWTBearer,
		discovery.GrantAuthorizationCode, discovery.GrantRefreshToken, discovery.GrantDeviceCode:
		return grant, nil
	case "":
		return "", agentid.Invalidf("grant_type", "is missing")
	}
	return "", agentid.Errorf(agentid.KindInvalid, httperr.UnsupportedGrantType, "the broker takes %s, %s and %s of agents, %s, %s and %s of people",
		discovery.GrantClientCredentials, discovery.GrantTokenExchange, discovery.GrantJWTBearer,
		discovery.GrantAuthorizationCode, discovery.GrantRefreshToken, discovery.GrantDeviceCode).WithField("grant_type")
}

// target reads resource (RFC 8707) and audience, its RFC 8693 twin. A token has one
// audience: more than one value is invalid_target.
func target(form httpx.Form) (string, error) {
	values := append(form.All("resource"), form.All("audience")...)
	switch {
	case len(form.All("resource")) > 1 || len(form.All("audience")) > 1:
		return "", invalidTarget("a token has one audience: ask for one token each")
	case len(values) == 0:
		return "", nil
	case len(values) == 2 && values[0] != values[1]:
		return "", invalidTarget("resource and audience differ")
	case strings.Contains(values[0], "#") || !strings.Contains(values[0], "://"):
		return "", invalidTarget("want an absolute URI without a fragment")
	}
	return values[0], nil
}

// scope reads the operations to narrow to: printable ASCII without quote and backslash,
// separated by single spaces (RFC 6749 section 3.3). A repetition counts once.
func scope(form httpx.Form) ([]string, error) {
	text := form.Get("scope")
	if text == "" {
		return nil, nil
	}
	var out []string
	for op := range strings.SplitSeq(text, " ") {
		if op == "" || strings.ContainsFunc(op, func(c rune) bool { return c <= 0x20 || c > 0x7e || c == '"' || c == '\\' }) {
			return nil, agentid.Errorf(agentid.KindInvalid, httperr.InvalidScope, "want operations separated by single spaces").WithField("scope")
		}
		if !slices.Contains(out, op) {
			out = append(out, op)
		}
	}
	if len(out) > maxScope {
		return nil, agentid.Errorf(agentid.KindInvalid, httperr.InvalidScope, "more than %d operations", maxScope).WithField("scope")
	}
	return out, nil
}

// details may be left out where the token is made from another, or under a standing
// delegation, all of which is then asked for, and where the rule that admitted a workload
// names them.
func details(form httpx.Form, x *pending) (capability.Request, error) {
	text := form.Get("authorization_details")
	if text == "" && (x.request.Subject != nil || x.request.Delegated != nil && x.request.Delegated.Standing != nil) {
		return capability.Request{}, nil
	}
	if text == "" {
		text = string(x.admission.Rule.Details)
	}
	if text == "" {
		return capability.Request{}, agentid.Errorf(agentid.KindInvalid, httperr.InvalidAuthorizationDetails,
			"is missing: a token needs at least one capability or template").WithField("authorization_details")
	}
	request, err := capability.ParseRequest([]byte(text))
	if err != nil {
		return capability.Request{}, httperr.WithCode(err, httperr.InvalidAuthorizationDetails)
	}
	return request, nil
}

func invalidTarget(message string) error {
	return agentid.Errorf(agentid.KindInvalid, httperr.InvalidTarget, "%s", message).WithField("resource")
}
