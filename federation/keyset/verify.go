package keyset

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// Reasons of a refusal: KindUnauthenticated, and the last one KindUnavailable. They are
// for the log; a caller of the broker gets the OAuth error alone.
const (
	ReasonMalformed   = "token_malformed"   // no compact JWS, or a header that is not accepted
	ReasonType        = "token_type"        // typ is another one
	ReasonAlgorithm   = "token_algorithm"   // alg is not accepted
	ReasonKey         = "key_unknown"       // the issuer has no such key, or it does not fit
	ReasonSignature   = "signature_invalid" // it is not by that key
	ReasonUnavailable = "issuer_keys_unavailable"
)

// MaxToken bounds a token from an issuer outside, in bytes.
const MaxToken = 16 << 10

// Algorithms are all that an issuer outside may sign with: asymmetric ones only.
var Algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Policy is the policy for tokens of issuers outside: no typ, or JWT, and Algorithms.
func Policy() jws.Policy {
	return jws.Policy{Types: []string{"", "JWT"}, Algorithms: Algorithms, MaxBytes: MaxToken}
}

// Verified is a message whose signature is that of one of the keys.
type Verified struct {
	Claims  strictjson.Value
	Payload []byte // the bytes that Claims was read from
	Header  jws.Header
	Key     jose.JSONWebKey
}

// Verify checks the signature of a compact JWS. It fetches keys where that is due, and so
// takes at most one fetch's timeout. Claims mean nothing yet: issuer, audience and time are
// the caller's to check. Refusals are *agentid.Error with the reasons above;
// KindUnavailable carries the time to try again.
func (s *Set) Verify(ctx context.Context, compact string, policy jws.Policy) (Verified, error) {
	message, err := jws.Parse(compact, policy)
	if err != nil {
		return Verified{}, refuseJWS(err)
	}
	keys, err := s.Serving(ctx)
	if err != nil {
		return Verified{}, err
	}
	out, err := try(message, keys)
	if agentid.ReasonOf(err) == ReasonKey && err != nil && s.cfg.Static == nil {
		fetched := s.await(ctx)
		status := s.Status()
		if fetched && status.Failed == nil {
			out, err = try(message, status.Keys)
		}
		if err != nil && status.Failed != nil { // it may well be a new key of theirs
			err = s.unavailable(status.Failed)
		}
	}
	if err != nil {
		return Verified{}, err
	}
	out.Payload, err = payload(compact)
	return out, err
}

// VerifySignature fits the KeySet of coreos/go-oidc: it returns the payload of a token
// that passes Policy.
func (s *Set) VerifySignature(ctx context.Context, compact string) ([]byte, error) {
	v, err := s.Verify(ctx, compact, Policy())
	return v.Payload, err
}

// Serving are the keys to verify with now. Old ones are fetched again first; while the
// issuer is known to be out of reach, aside. KindUnavailable: there are none, or they are
// too old.
func (s *Set) Serving(ctx context.Context) ([]jose.JSONWebKey, error) {
	if s.cfg.Static != nil {
		return s.keys, nil
	}
	status, now := s.Status(), s.cfg.Now()
	switch age := now.Sub(status.Fetched); {
	case status.Fetched.IsZero() || age >= s.cfg.MaxStale:
		s.await(ctx)
		status = s.Status()
	case age >= s.cfg.Refresh && status.Failed != nil:
		s.begin()
	case age >= s.cfg.Refresh:
		s.await(ctx)
		status = s.Status()
	}
	if status.Fetched.IsZero() || s.cfg.Now().Sub(status.Fetched) >= s.cfg.MaxStale {
		cause := status.Failed
		if cause == nil {
			cause = errors.Join(errors.New("no keys are there yet"), context.Cause(ctx))
		}
		return nil, s.unavailable(cause)
	}
	return status.Keys, nil
}

func (s *Set) unavailable(cause error) error {
	s.mu.Lock()
	next := s.attempted.Add(s.cfg.Interval).Sub(s.cfg.Now())
	s.mu.Unlock()
	return httperr.WithRetryAfter(agentid.Unavailable(ReasonUnavailable, cause), min(max(next, time.Second), s.cfg.Interval+time.Second))
}

// try looks for the one key that the header names, or, where it names none, for one that
// verifies.
func try(message *jws.Unverified, keys []jose.JSONWebKey) (Verified, error) {
	header := message.Header()
	err := refuse(ReasonKey, nil)
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		claims, failed := message.Verify(key)
		if failed == nil {
			return Verified{Claims: claims, Header: header, Key: key}, nil
		}
		if header.KeyID != "" && key.KeyID != "" {
			return Verified{}, refuseJWS(failed)
		}
		err = refuse(ReasonKey, failed)
	}
	return Verified{}, err
}

func payload(compact string) ([]byte, error) {
	_, rest, _ := strings.Cut(compact, ".")
	body, _, _ := strings.Cut(rest, ".")
	out, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return nil, refuse(ReasonMalformed, err)
	}
	return out, nil
}

func refuse(reason string, cause error) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindUnauthenticated, Reason: reason, Message: "the token is not accepted", Cause: cause}
}

func refuseJWS(err error) error {
	reason := ReasonMalformed
	if fault, ok := errors.AsType[*jws.Error](err); ok {
		switch fault.Fault {
		case jws.FaultType:
			reason = ReasonType
		case jws.FaultAlgorithm:
			reason = ReasonAlgorithm
		case jws.FaultKey:
			reason = ReasonKey
		case jws.FaultSignature:
			reason = ReasonSignature
		case jws.FaultMalformed:
		}
	}
	return refuse(reason, err)
}
