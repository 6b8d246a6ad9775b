// Package refusal reads what a broker answers: the bounded body of a response, and the
// reason in one that says no.
//
// It owns the reading of OAuth error documents (RFC 6749 section 5.2) and problem
// documents (RFC 9457). Who asked what, and whether to ask again, is its callers'.
package refusal
