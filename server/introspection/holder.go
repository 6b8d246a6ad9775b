package introspection

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Answer is RFC 7662 section 2.2. The zero Answer says that the token is not active.
type Answer struct {
	Active       bool                     `json:"active"`
	Scope        string                   `json:"scope,omitempty"`
	ClientID     string                   `json:"client_id,omitempty"`
	TokenType    string                   `json:"token_type,omitempty"`
	Expiry       int64                    `json:"exp,omitempty"`
	IssuedAt     int64                    `json:"iat,omitempty"`
	NotBefore    int64                    `json:"nbf,omitempty"`
	Subject      string                   `json:"sub,omitempty"`
	Audience     string                   `json:"aud,omitempty"`
	Issuer       string                   `json:"iss,omitempty"`
	ID           string                   `json:"jti,omitempty"`
	Actor        *capability.Actor        `json:"act,omitempty"`
	Lineage      []agentid.Ref            `json:"lineage,omitempty"` // act as a list: the agent, then its ancestors
	Confirmation *capability.Confirmation `json:"cnf,omitempty"`
	Details      []capability.Capability  `json:"authorization_details,omitempty"`
}

// holder is what is worked out of a token once for all questions about it: all of it
// follows from the token's text. It is shared and never changed.
type holder struct {
	subject *policy.Subject
	answer  []byte // while the token is good
}

// Deriving is the Derive of a Verifier whose tokens this package answers about.
func Deriving(decider Decider) func(capability.Claims) (any, error) {
	return func(c capability.Claims) (any, error) {
		subject, err := subjectOf(decider, &c)
		if err != nil {
			return nil, err
		}
		answer, err := encode(describe(&c))
		return &holder{subject: subject, answer: answer}, err
	}
}

func subjectOf(decider Decider, c *capability.Claims) (*policy.Subject, error) {
	tokens, err := c.Tokens()
	if err != nil {
		return nil, err
	}
	lineage := c.Lineage()
	h := policy.Holder{
		Lineage: make([]policy.Member, len(lineage)), Principal: c.Context.Principal, OwnAuthority: c.Context.OwnAuthority,
		Tokens: tokens, Also: []agentid.Ref{c.Context.AgentType}, Expiry: c.Expiry,
	}
	for i, agent := range lineage {
		h.Lineage[i].Agent = agent
	}
	return decider.Subject(h)
}

func encode(a Answer) ([]byte, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	return append(body, '\n'), nil
}

// Live asks policy whether a token that verified is good now: none of its chain is
// revoked, every agent of its lineage lives, and it is of this incarnation. KindForbidden
// is a definite no.
func Live(ctx context.Context, fleet wire.Fleet, decider Decider, token *capability.Token) error {
	about := &token.Claims.Context
	floor, epoch, incarnation, err := fleet.Floor(ctx)
	if err != nil {
		return err
	}
	if about.Incarnation != incarnation {
		return agentid.Errorf(agentid.KindForbidden, "token_incarnation", "the token is from before a restore")
	}
	q := policy.Question{Stage: policy.StageLive, AtLeast: about.Zookie}
	// A token of an older epoch was decided on before the floor was raised.
	if floor != "" && about.Epoch < epoch {
		q.AtLeast = floor
	}
	if h, ok := token.Derived.(*holder); ok {
		q.Subject = h.subject
	} else if q.Subject, err = subjectOf(decider, &token.Claims); err != nil {
		return err
	}
	_, err = decider.Decide(ctx, q)
	return err
}

func describe(c *capability.Claims) Answer {
	a := Answer{
		Active: true, Scope: c.Scope, ClientID: c.ClientID, TokenType: "Bearer",
		Expiry: c.Expiry.Unix(), IssuedAt: c.IssuedAt.Unix(), Subject: c.Subject, Audience: c.Audience,
		Issuer: c.Issuer, ID: c.ID, Actor: c.Actor, Lineage: c.Lineage(), Details: c.Capabilities,
	}
	if !c.NotBefore.IsZero() {
		a.NotBefore = c.NotBefore.Unix()
	}
	if !c.Confirmation.IsZero() {
		a.TokenType, a.Confirmation = "DPoP", &c.Confirmation
	}
	return a
}
