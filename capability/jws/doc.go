// Package jws reads signed JSON objects in JWS compact serialisation (RFC 7515)
// under a policy that names what is allowed, and refuses the rest: RFC 8725 in
// code. Access tokens, client assertions and DPoP proofs all come through here.
//
// It owns the syntax, the header rules and the key policy around go-jose, whose
// part is the signature. It does not know what a claim means, which issuer is
// trusted or what time it is, fetches nothing, and reads no key from a header
// unless the policy says that the header is where the key belongs (DPoP).
package jws

import "fmt"

// Fault says what was wrong, for callers who have a reason code of their own. The
// zero Fault is a malformed message.
type Fault int

// The faults, in the order in which they are looked for.
const (
	FaultMalformed Fault = iota // size, syntax, header, or a payload that is no JSON object
	FaultType                   // typ is not among the accepted ones
	FaultAlgorithm              // alg is not among the accepted ones
	FaultKey                    // the key is missing, weak, or not for this use
	FaultSignature              // the signature is not that of the key
)

// Error is a refusal. Detail may be shown to the caller: it repeats nothing of the
// message.
type Error struct {
	Fault  Fault
	Detail string
	Cause  error // for the log only
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause != nil {
		return "jws: " + e.Detail + ": " + e.Cause.Error()
	}
	return "jws: " + e.Detail
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

func faultf(f Fault, format string, args ...any) *Error {
	return &Error{Fault: f, Detail: fmt.Sprintf(format, args...)}
}
