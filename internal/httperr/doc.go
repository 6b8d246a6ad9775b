// Package httperr is the one table that turns an error of AgentID into HTTP: the
// status, the OAuth error code, the WWW-Authenticate challenge, the problem document
// (RFC 9457), Retry-After. Nothing else writes a status of 400 or above.
//
// The caller sees a reason code that is stable and true, the field at fault, one
// sentence and a request id. The cause of an error goes to the log only. The package
// owns no policy: which error arises is decided elsewhere.
package httperr
