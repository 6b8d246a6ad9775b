package httperr

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
)

// OAuth error codes: RFC 6749 section 5.2, RFC 8628 (access_denied), RFC 8707
// (invalid_target), RFC 9396 (invalid_authorization_details), RFC 9449.
const (
	InvalidRequest              = "invalid_request"
	InvalidClient               = "invalid_client"
	InvalidGrant                = "invalid_grant"
	InvalidScope                = "invalid_scope"
	InvalidTarget               = "invalid_target"
	InvalidToken                = "invalid_token"
	InsufficientScope           = "insufficient_scope"
	UnauthorizedClient          = "unauthorized_client"
	UnsupportedGrantType        = "unsupported_grant_type"
	UnsupportedTokenType        = "unsupported_token_type"
	AccessDenied                = "access_denied"
	InvalidAuthorizationDetails = "invalid_authorization_details"
	InvalidDPoPProof            = "invalid_dpop_proof"
	UseDPoPNonce                = "use_dpop_nonce"
	AuthorizationPending        = "authorization_pending" // RFC 8628 section 3.5
	SlowDown                    = "slow_down"
	ExpiredToken                = "expired_token"
	UnsupportedResponseType     = "unsupported_response_type"
	ServerError                 = "server_error"
	TemporarilyUnavailable      = "temporarily_unavailable"
)

// Reasons that this table treats apart from their kind.
const (
	ReasonCredentialMissing = "credential_missing" //nolint:gosec // a reason code: no credential at all, a challenge without an error code
	ReasonMethodNotAllowed  = "method_not_allowed"
	ReasonTokenRevoked      = "token_revoked"
)

// row is what one kind means over HTTP. The zero row is never used: kinds that the
// table does not know are internal errors.
type row struct {
	status    int
	title     string
	oauth     string // at the authorization server's endpoints
	challenge string // at a protected resource: RFC 6750 section 3.1
	retry     time.Duration
}

var kinds = map[agentid.Kind]row{
	agentid.KindInternal:        {http.StatusInternalServerError, "Internal error", ServerError, "", 0},
	agentid.KindInvalid:         {http.StatusBadRequest, "Malformed request", InvalidRequest, InvalidRequest, 0},
	agentid.KindUnauthenticated: {http.StatusUnauthorized, "Not authenticated", InvalidClient, InvalidToken, 0},
	agentid.KindForbidden:       {http.StatusForbidden, "Refused", AccessDenied, InsufficientScope, 0},
	agentid.KindNotFound:        {http.StatusNotFound, "Not found", InvalidRequest, "", 0},
	agentid.KindConflict:        {http.StatusConflict, "Conflict", InvalidRequest, "", 0},
	agentid.KindTooLarge:        {http.StatusRequestEntityTooLarge, "Too large", InvalidRequest, "", 0},
	agentid.KindRateLimited:     {http.StatusTooManyRequests, "Too many requests", TemporarilyUnavailable, "", time.Second},
	agentid.KindUnavailable:     {http.StatusServiceUnavailable, "Unavailable", TemporarilyUnavailable, "", time.Second},
	agentid.KindUpstream:        {http.StatusBadGateway, "Upstream failed", ServerError, "", 0},
	agentid.KindUpstreamTimeout: {http.StatusGatewayTimeout, "Upstream timed out", ServerError, "", 0},
}

// statuses are the reasons whose status is more exact than their kind's.
var statuses = map[string]int{
	ReasonMethodNotAllowed:   http.StatusMethodNotAllowed,
	"unsupported_media_type": http.StatusUnsupportedMediaType,
	"body_timeout":           http.StatusRequestTimeout,
	"http_version":           http.StatusHTTPVersionNotSupported,
	ReasonTokenRevoked:       http.StatusUnauthorized, // RFC 6750: a revoked token is invalid_token
}

// codes are the reasons that have an OAuth error code of their own.
var codes = map[string]string{
	UseDPoPNonce:                UseDPoPNonce,
	InvalidDPoPProof:            InvalidDPoPProof,
	InvalidGrant:                InvalidGrant,
	InvalidScope:                InvalidScope,
	InvalidTarget:               InvalidTarget,
	UnauthorizedClient:          UnauthorizedClient,
	UnsupportedGrantType:        UnsupportedGrantType,
	UnsupportedTokenType:        UnsupportedTokenType,
	InvalidAuthorizationDetails: InvalidAuthorizationDetails,
	ReasonTokenRevoked:          InvalidToken,
}

// oauthStatus are the codes that RFC 6749 section 5.2 or their own RFC answers with
// 400 at the authorization server, whatever the kind says.
var oauthStatus = map[string]int{
	UseDPoPNonce:                http.StatusBadRequest,
	InvalidDPoPProof:            http.StatusBadRequest,
	InvalidGrant:                http.StatusBadRequest,
	InvalidScope:                http.StatusBadRequest,
	InvalidTarget:               http.StatusBadRequest,
	UnauthorizedClient:          http.StatusBadRequest,
	UnsupportedGrantType:        http.StatusBadRequest,
	UnsupportedTokenType:        http.StatusBadRequest,
	InvalidAuthorizationDetails: http.StatusBadRequest,
	AuthorizationPending:        http.StatusBadRequest,
	SlowDown:                    http.StatusBadRequest,
	ExpiredToken:                http.StatusBadRequest,
}

// Answer is what an error means over HTTP. Title, Detail, Reason and Field may
// reach the caller.
type Answer struct {
	Status     int           // 400 to 599
	Title      string        // one phrase per kind
	Reason     string        // stable, snake_case
	Field      string        // the input at fault, or ""
	Detail     string        // one sentence, or ""
	OAuth      string        // error code at the authorization server
	Challenge  string        // error code at a protected resource, or "" for none
	RetryAfter time.Duration // zero: say nothing
}

// Of looks an error up. An error that is not an agentid.Error, and a kind that the
// table does not know, is an internal error whose text stays inside. The Status is
// the one for a protected resource or an API; OAuthStatus is the one for the
// authorization server's endpoints.
func Of(err error) Answer {
	e := agentid.AsError(err)
	r, known := kinds[e.Kind]
	if !known {
		r = kinds[agentid.KindInternal]
	}
	a := Answer{
		Status: r.status, Title: r.title, Reason: e.Reason, Field: e.Field, Detail: e.Message,
		OAuth: r.oauth, Challenge: r.challenge, RetryAfter: r.retry,
	}
	if r.status == http.StatusInternalServerError {
		a.Reason, a.Field, a.Detail = "internal", "", "internal error"
		return a
	}
	if status, ok := statuses[e.Reason]; ok {
		a.Status = status
	}
	a.OAuth, a.Challenge = codesOf(err, e, a)
	if later, ok := errors.AsType[*retryError](err); ok {
		a.RetryAfter = later.after
	}
	return a
}

func codesOf(err error, e *agentid.Error, a Answer) (oauth, challenge string) {
	oauth, challenge = a.OAuth, a.Challenge
	if strings.HasPrefix(e.Reason, "dpop_") {
		oauth, challenge = InvalidDPoPProof, InvalidDPoPProof
	}
	if code, ok := codes[e.Reason]; ok {
		oauth = code
		if a.Status == http.StatusUnauthorized {
			challenge = code
		}
	}
	if e.Reason == ReasonCredentialMissing {
		challenge = ""
	}
	if coded, ok := errors.AsType[*codedError](err); ok {
		oauth = coded.code
	}
	return oauth, challenge
}

// OAuthStatus is the status at the authorization server's endpoints.
func (a Answer) OAuthStatus() int {
	if a.Status >= http.StatusInternalServerError {
		return a.Status
	}
	if status, ok := oauthStatus[a.OAuth]; ok {
		return status
	}
	return a.Status
}

// WithRetryAfter returns err with the wait after which a new attempt makes sense.
func WithRetryAfter(err error, after time.Duration) error {
	return &retryError{error: err, after: after}
}

// WithCode returns err with the OAuth error code to give at the authorization
// server's endpoints, in place of the one of its kind.
func WithCode(err error, code string) error { return &codedError{error: err, code: code} }

type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

type codedError struct {
	error
	code string
}

func (e *codedError) Unwrap() error { return e.error }
