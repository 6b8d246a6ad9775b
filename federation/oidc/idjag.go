package oidc

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
)

// TypeIDJAG is the typ of an identity assertion authorization grant
// (draft-ietf-oauth-identity-assertion-authz-grant).
const TypeIDJAG = "oauth-id-jag+jwt"

// Assertion is an ID-JAG: a person, the one client that it was made for, and what it
// bounds that client to.
type Assertion struct {
	Person   Person
	ClientID string
	Resource []string        // the only resources that it is for; empty: any
	Scope    []string        // the only scopes; nil: any
	Details  json.RawMessage // authorization_details (RFC 9396); nil: none are named
}

// IDJAG verifies an identity assertion whose sole audience must be issuer, ours: typ,
// iss, aud, client_id, jti, exp, iat. That the client is the one that authenticated, and
// that the jti was not used before, is the caller's to check.
func (p *Provider) IDJAG(ctx context.Context, raw, issuer string) (Assertion, *federation.Trace, error) {
	trace := &federation.Trace{}
	policy := keyset.Policy()
	policy.Types = []string{TypeIDJAG}
	v, err := p.signed(ctx, raw, policy, trace)
	if err != nil {
		return Assertion{}, trace, err
	}
	audience, err := audienceOf(v.Claims, []string{issuer})
	if items, list := v.Claims.Get("aud").Items(); err == nil && list && len(items) != 1 {
		err = federation.Refuse(federation.ReasonAudience, "aud", "want one audience", nil)
	}
	if err != nil {
		return Assertion{}, trace, trace.Fail(federation.StepAudience, err)
	}
	trace.Pass(federation.StepAudience, audience)
	if err := times(v.Claims, p.cfg.Now()); err != nil {
		return Assertion{}, trace, trace.Fail(federation.StepTime, err)
	}
	trace.Pass(federation.StepTime, "")
	out := Assertion{}
	out.ClientID, _ = v.Claims.Get("client_id").Text()
	jti, _ := v.Claims.Get("jti").Text()
	if out.ClientID == "" || jti == "" {
		return Assertion{}, trace, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "client_id", "client_id and jti are required", nil))
	}
	if err := out.bounds(v); err != nil {
		return Assertion{}, trace, trace.Fail(federation.StepClaims, err)
	}
	out.Person, err = p.person(v.Claims, audience, trace)
	return out, trace, err
}

// bounds reads resource, scope and authorization_details. A bound that cannot be read
// refuses the assertion: it is not taken for none.
func (a *Assertion) bounds(v keyset.Verified) error {
	switch resource := v.Claims.Get("resource"); resource.Kind() {
	case strictjson.Invalid:
	case strictjson.String:
		text, _ := resource.Text()
		a.Resource = []string{text}
	case strictjson.Array:
		items, _ := resource.Items()
		for _, item := range items {
			text, ok := item.Text()
			if !ok {
				return federation.Refuse(federation.ReasonClaim, "resource", "is not a list of texts", nil)
			}
			a.Resource = append(a.Resource, text)
		}
	default:
		return federation.Refuse(federation.ReasonClaim, "resource", "is not a text", nil)
	}
	if scope := v.Claims.Get("scope"); scope.Kind() != strictjson.Invalid {
		text, ok := scope.Text()
		if !ok || text == "" {
			return federation.Refuse(federation.ReasonClaim, "scope", "is not a text", nil)
		}
		a.Scope = strings.Fields(text)
	}
	if v.Claims.Get("authorization_details").Kind() == strictjson.Invalid {
		return nil
	}
	var document struct {
		Details json.RawMessage `json:"authorization_details"`
	}
	if err := json.Unmarshal(v.Payload, &document); err != nil || len(document.Details) == 0 {
		return federation.Refuse(federation.ReasonClaim, "authorization_details", "cannot be read", err)
	}
	a.Details = document.Details
	return nil
}
