package main

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// claims are those that the policy needs, beside the registered ones.
type claims struct {
	jwt.Claims
	Agent    string `json:"agent"`
	Customer string `json:"customer"`
}

type verifier struct {
	keys             jose.JSONWebKeySet
	issuer, audience string
}

func newVerifier(path, issuer, audience string) (*verifier, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v := &verifier{issuer: issuer, audience: audience}
	return v, json.Unmarshal(data, &v.keys)
}

func (v *verifier) token(raw string) (claims, error) {
	var c claims
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return c, err
	}
	if err := parsed.Claims(v.keys, &c); err != nil {
		return c, err
	}
	if c.Expiry == nil || c.ID == "" {
		return c, errors.New("no exp or no jti")
	}
	return c, c.ValidateWithLeeway(jwt.Expected{Issuer: v.issuer, AnyAudience: jwt.Audience{v.audience}, Time: time.Now()}, 0)
}
