package tokens

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	assertion "github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/sources"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/clientauth"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/exchange"
	"github.com/agentid-dev/agentid/server/issue"
)

// Identifiers of how a workload's token is presented.
const (
	// AssertionSPIFFE is the client_assertion_type of a JWT-SVID
	// (draft-ietf-oauth-spiffe-client-auth).
	AssertionSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token" //nolint:gosec // an identifier
)

// Workloads is enrol.Service.
type Workloads interface {
	Admit(ctx context.Context, r enrol.Request) (enrol.Admission, *federation.Trace, error)
	// Enrol gives the agent that an admission is with this key, which its holder proved.
	Enrol(ctx context.Context, a enrol.Admission, key jose.JSONWebKey, principal agentid.Ref) (agentid.Ref, error)
}

// came is how a workload presents itself.
type came struct {
	request  enrol.Request
	clientID string
	err      error // the way itself is wrong
}

// workload says whether a request is of a workload that an issuer outside vouches for, and
// how: an assertion grant or a token exchange without client authentication, a client
// assertion of somebody else than an agent, or the certificate of the connection alone.
func (e *Endpoint) workload(r *http.Request, form httpx.Form, x *pending) (came, bool) {
	c := came{request: enrol.Request{Tenant: x.tenant}, clientID: form.Get("client_id")}
	text := form.Get("client_assertion")
	switch {
	case !clientauth.Presents(r, form):
		return c.bare(form, x.grant, certificates(r))
	case form.Get("client_assertion_type") == AssertionSPIFFE, form.Get("client_assertion_type") == assertion.AssertionType && ofOthers(text):
		c.request.Use, c.request.Token = enrol.Client, text
		if len(r.Header.Values("Authorization")) > 0 || form.Get("client_secret") != "" {
			c.err = agentid.Errorf(agentid.KindInvalid, "credential_ambiguous", "more than one way of client authentication is used")
		}
		if text == "" {
			c.err = agentid.Invalidf("client_assertion", "is empty")
		}
		return c, true
	}
	return c, false
}

// bare is a request without client authentication.
func (c came) bare(form httpx.Form, grant string, certs []*x509.Certificate) (came, bool) {
	switch {
	case grant == discovery.GrantJWTBearer:
		c.request.Use, c.request.Token = enrol.Grant, form.Get("assertion")
		if c.request.Token == "" {
			c.err = agentid.Invalidf("assertion", "is missing")
		}
	case grant == discovery.GrantTokenExchange && (form.Get("subject_token_type") == TypeJWT || form.Get("subject_token_type") == TypeIDToken):
		c.request.Use, c.request.Token, c.err = enrol.Grant, form.Get("subject_token"), exchangeParameters(form)
	case grant == discovery.GrantClientCredentials && len(certs) > 0:
		c.request.Use, c.request.Certificates = enrol.Connection, certs
	default:
		return c, false
	}
	return c, true
}

func exchangeParameters(form httpx.Form) error {
	for _, name := range []string{"actor_token", "actor_token_type"} {
		if form.Get(name) != "" {
			return agentid.Errorf(agentid.KindInvalid, "actor_token_refused", "the actor is who the subject token names").WithField(name)
		}
	}
	if requested := form.Get("requested_token_type"); requested != "" && requested != exchange.TypeAccessToken {
		return agentid.Invalidf("requested_token_type", "want %s", exchange.TypeAccessToken)
	}
	if form.Get("subject_token") == "" {
		return agentid.Invalidf("subject_token", "is missing")
	}
	return nil
}

// ofOthers says whether an assertion names an issuer by URL, which no agent's own does.
func ofOthers(text string) bool {
	hints := sources.Hints(text)
	return len(hints) > 0 && strings.Contains(hints[0], "://")
}

func certificates(r *http.Request) []*x509.Certificate {
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// admit verifies what a workload presents, finds the rule that admits it, has its key
// proved, and enrols it as the agent that it is with that key.
func (e *Endpoint) admit(w http.ResponseWriter, r *http.Request, x *pending, c came, form httpx.Form) error {
	ctx := r.Context()
	if c.err != nil {
		return c.err
	}
	admission, _, err := e.cfg.Workloads.Admit(ctx, c.request)
	if err == nil && c.clientID != "" && c.clientID != admission.Identity.Subject {
		err = federation.Refuse("client_id_mismatch", "client_id", "is not the subject of the assertion", nil)
	}
	if err != nil {
		return x.refuse(c.request.Use, err)
	}
	x.admission = admission
	key, bound, err := e.possession(w, r, x, c.request.Use)
	if err != nil {
		return err
	}
	thumbprint, err := jws.Thumbprint(key)
	if err != nil {
		return agentid.Errorf(agentid.KindInvalid, "key_forbidden", "the key has no thumbprint").WithCause(err)
	}
	if pinned := admission.Identity.Confirmation; pinned != "" && pinned != thumbprint {
		return x.refuse(c.request.Use, federation.Refuse("confirmation_mismatch", "cnf.jkt", "the token is bound to another key", nil))
	}
	principal, err := e.delegating(ctx, x, form)
	if err != nil {
		return err
	}
	ref, err := admission.Ref(thumbprint, principal)
	if err == nil {
		err = e.limit.Take(ctx, ref)
	}
	if err == nil {
		err = e.cfg.Delegations.Under(ctx, x.delegator, ref)
	}
	if err != nil {
		return err
	}
	ref, err = e.cfg.Workloads.Enrol(ctx, admission, key, principal)
	if err != nil {
		return x.refuse(c.request.Use, err)
	}
	if x.client, err = e.cfg.Clients.Enrolled(ctx, ref); err != nil {
		return err
	}
	x.client.Assertion = admission.Assertion(thumbprint)
	x.request = issue.Request{
		Issuer: x.issuer, Agent: x.client.Agent, Assertion: x.client.Assertion, RequestID: httpx.RequestID(ctx), Notes: admission.Notes(),
		Thumbprint: bound.JKT, Certificate: bound.X5T,
	}
	return nil
}

// confirmation is what a token will be bound to: one of them.
type confirmation struct{ JKT, X5T string }

// possession is the key that a workload proved to hold: by a DPoP proof, or by the
// certificate of its connection. One of them is required; a key that nobody proved makes no
// agent.
func (e *Endpoint) possession(w http.ResponseWriter, r *http.Request, x *pending, use enrol.Use) (jose.JSONWebKey, confirmation, error) {
	proof, err := e.verifyProof(w, r, x)
	if err != nil {
		return jose.JSONWebKey{}, confirmation{}, err
	}
	certs := certificates(r)
	if proof.JKT != "" {
		if use == enrol.Connection {
			own, err := jws.Thumbprint(jose.JSONWebKey{Key: certs[0].PublicKey})
			if err != nil || own != proof.JKT {
				return jose.JSONWebKey{}, confirmation{}, agentid.Errorf(agentid.KindInvalid, "dpop_key_mismatch", "the proof is not by the certificate's key").WithField("DPoP").WithCause(err)
			}
		}
		return *proof.Key, confirmation{JKT: proof.JKT}, e.cfg.Guard.Check(proof)
	}
	if len(certs) == 0 {
		return jose.JSONWebKey{}, confirmation{}, agentid.Errorf(agentid.KindInvalid, "dpop_required", "a workload proves a key: send a DPoP proof, or a client certificate").WithField("DPoP")
	}
	sum := sha256.Sum256(certs[0].Raw)
	return jose.JSONWebKey{Key: certs[0].PublicKey}, confirmation{X5T: base64.RawURLEncoding.EncodeToString(sum[:])}, nil
}

// refuse keeps why a workload is refused for the log, and gives the caller the standard's
// own error and nothing more. An outage is told as one.
func (x *pending) refuse(use enrol.Use, err error) error {
	e := agentid.AsError(err)
	switch e.Kind {
	case agentid.KindUnavailable, agentid.KindInternal, agentid.KindRateLimited:
		return err
	case agentid.KindUnauthenticated, agentid.KindNotFound:
	default:
		x.cause = err
		return agentid.Errorf(agentid.KindForbidden, "workload_refused", "the workload is not admitted").WithCause(err)
	}
	x.cause = err
	switch {
	case use != enrol.Grant:
		return agentid.Errorf(agentid.KindUnauthenticated, "client_not_authenticated", "the client is not known here, or the credential is not its own").WithCause(err)
	case x.grant == discovery.GrantTokenExchange: // RFC 8693 section 2.2.2
		return agentid.Errorf(agentid.KindInvalid, "subject_token_refused", "the subject token is not accepted").WithField("subject_token").WithCause(err)
	}
	return agentid.Errorf(agentid.KindInvalid, httperr.InvalidGrant, "the assertion is not accepted").WithField("assertion").WithCause(err)
}
