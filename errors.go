package agentid

import (
	"errors"
	"fmt"
)

// Kind says what an error means to a caller. internal/httperr is the one table
// that turns kinds into statuses and OAuth codes. The zero Kind is an internal
// error, which denies.
type Kind int

// The kinds. Every one of them is a refusal; they differ in who can mend it.
const (
	KindInternal        Kind = iota // our own fault: 500
	KindInvalid                     // malformed input, the field is named: 400
	KindUnauthenticated             // no or bad credential: 401
	KindForbidden                   // a definite no of policy, constraint or state: 403
	KindNotFound                    // unknown, or not visible to this caller: 404
	KindConflict                    // collides with what is there: 409
	KindTooLarge                    // over a size cap: 413
	KindRateLimited                 // over a rate: 429, with RetryAfter
	KindUnavailable                 // a part we need is down: 503, with RetryAfter
	KindUpstream                    // the upstream failed or answered wrongly: 502
	KindUpstreamTimeout             // the upstream did not answer in time: 504
)

// kindNames are the kinds as they are written between processes.
var kindNames = [...]string{
	KindInternal: "internal", KindInvalid: "invalid", KindUnauthenticated: "unauthenticated", KindForbidden: "forbidden",
	KindNotFound: "not_found", KindConflict: "conflict", KindTooLarge: "too_large", KindRateLimited: "rate_limited",
	KindUnavailable: "unavailable", KindUpstream: "upstream", KindUpstreamTimeout: "upstream_timeout",
}

// String is the kind's name, such as "not_found"; "internal" for a kind that is none.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return kindNames[KindInternal]
	}
	return kindNames[k]
}

// ParseKind reads what Kind.String wrote. Any other text is KindInternal, which denies.
func ParseKind(name string) Kind {
	for k, n := range kindNames {
		if n == name {
			return Kind(k)
		}
	}
	return KindInternal
}

// Error is a refusal or failure with a stable reason code. Message and Field may
// reach the caller; the wrapped cause never does, it is for the log.
type Error struct {
	Kind    Kind
	Reason  string // stable, snake_case: "uses_exhausted"
	Field   string // the input at fault, where there is one: "constraints.amount.max"
	Message string // one sentence for the caller; holds no secret, no relationship
	Cause   error  // for the log only
}

// Error implements error. It is for logs: it includes the cause.
func (e *Error) Error() string {
	s := e.Reason
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error without a field. The formatted message reaches the caller.
func Errorf(kind Kind, reason, format string, args ...any) *Error {
	return &Error{Kind: kind, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Invalidf makes a KindInvalid error that names the field at fault, with reason
// "invalid_request". The formatted message reaches the caller.
func Invalidf(field, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Reason: "invalid_request", Field: field, Message: fmt.Sprintf(format, args...)}
}

// Unavailable makes a KindUnavailable error: a part named by reason, such as
// "graph_unavailable" or "ledger_unavailable", failed with cause.
func Unavailable(reason string, cause error) *Error {
	return &Error{Kind: KindUnavailable, Reason: reason, Message: "a part that is needed to decide is unavailable", Cause: cause}
}

// WithCause returns a copy of e that wraps cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// WithField returns a copy of e that names another field.
func (e *Error) WithField(field string) *Error {
	c := *e
	c.Field = field
	return &c
}

// AsError finds the Error in err's chain; anything else becomes KindInternal with
// reason "internal", err as its cause.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindInternal, Reason: "internal", Message: "internal error", Cause: err}
}

// KindOf is AsError(err).Kind.
func KindOf(err error) Kind { return AsError(err).Kind }

// ReasonOf is AsError(err).Reason.
func ReasonOf(err error) string { return AsError(err).Reason }
