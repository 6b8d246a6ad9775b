// Package tokens is the token endpoint (RFC 6749 section 3.2): it owns the steps from
// the bytes of a request to the bytes of an answer, so that no grant can leave one out:
//
//	form → grant type → client authentication → rate → proof of possession →
//	subject token, in an exchange → parameters → mint → answer
//
// A workload that an issuer outside vouches for comes by the same steps, but that the proof
// is before the rest: its key makes it one agent or another (workload.go).
//
// What a token may say is decided by package issue; who is calling by clientauth.
package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/agentrate"
	"github.com/agentid-dev/agentid/server/clientauth"
	"github.com/agentid-dev/agentid/server/delegation"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/exchange"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/login"
	"github.com/agentid-dev/agentid/server/trail"
)

// Clients authenticates an agent at one issuer.
type Clients interface {
	Agent(ctx context.Context, issuer string, r *http.Request, form httpx.Form) (clientauth.Client, error)
	// Enrolled describes an agent that a workload was admitted as.
	Enrolled(ctx context.Context, ref agentid.Ref) (clientauth.Client, error)
	// Spend uses up the assertion of a request that was refused, together with the
	// refusal's audit record.
	Spend(ctx context.Context, c clientauth.Client, records ...auditlog.Record) error
}

// Minter is issue.Mint.
type Minter interface {
	Issue(ctx context.Context, req issue.Request) (issue.Grant, error)
}

// Subjects is exchange.Subjects: it verifies the subject token of an exchange.
type Subjects interface {
	Accept(ctx context.Context, agent issue.Agent, form httpx.Form) (capability.Claims, error)
}

// People carries out the grants that give tokens to people: login.Service.
type People interface {
	Grant(r *http.Request, tenant string, form httpx.Form) (login.Tokens, error)
}

// Config configures New. Everything without a default is required.
type Config struct {
	Issuers  discovery.Issuers
	Clients  Clients
	Mint     Minter
	Subjects Subjects
	People   People
	// Delegations reads the people that requests name.
	Delegations Delegations
	Workloads   Workloads
	Guard       *dpop.Guard // nonces and proofs seen, of this process
	Trail       *trail.Trail
	PerMinute   int              // token requests per agent; default: agentrate.DefaultPerMinute
	Burst       int              // default: agentrate.DefaultBurst
	Now         func() time.Time // default: time.Now
}

// Endpoint is the token endpoint of the root issuer and of every tenant.
type Endpoint struct {
	cfg   Config
	limit *agentrate.Limit
}

// New checks cfg.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Issuers.Root() == "" || cfg.Clients == nil || cfg.Mint == nil || cfg.Subjects == nil || cfg.People == nil || cfg.Delegations == nil || cfg.Workloads == nil || cfg.Guard == nil || cfg.Trail == nil {
		return nil, errors.New("tokens: issuers, clients, mint, subjects, people, delegations, workloads, guard and trail are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	limit, err := agentrate.New(cfg.PerMinute, cfg.Burst)
	if err != nil {
		return nil, err
	}
	return &Endpoint{cfg: cfg, limit: limit}, nil
}

// response is RFC 6749 section 5.1 with RFC 9396 section 7 and RFC 8693 section 2.2.1.
type response struct {
	AccessToken string          `json:"access_token"`
	IssuedType  string          `json:"issued_token_type,omitempty"` // in an exchange
	TokenType   string          `json:"token_type"`
	ExpiresIn   int64           `json:"expires_in"`
	Scope       string          `json:"scope"`
	Details     json.RawMessage `json:"authorization_details"`
}

// pending is one request on its way through the steps.
type pending struct {
	grant   string // grant_type
	issuer  string // whose endpoint was called
	tenant  string // "" at the root
	client  clientauth.Client
	request issue.Request
	// admission is of a workload that was admitted; cause is why one was not, for the log.
	admission enrol.Admission
	cause     error

	delegator delegation.Delegator // the person that the request names
}

// Token handles one request. Every refusal is in the audit log before it is answered;
// the error is to be rendered by httperr.OAuth.
func (e *Endpoint) Token(w http.ResponseWriter, r *http.Request, tenant string) error {
	x := pending{issuer: e.cfg.Issuers.Of(tenant), tenant: tenant}
	form, err := httpx.ParseForm(w, r, formRules)
	if err == nil {
		x.grant, err = grantType(form)
	}
	if err == nil && discovery.ForPeople(x.grant) {
		return e.person(w, r, x, form)
	}
	var grant issue.Grant
	if err == nil {
		grant, err = e.run(w, r, &x, form)
	}
	if err != nil {
		e.refused(r.Context(), x, err)
		return err
	}
	answer := response{
		AccessToken: grant.Token, TokenType: "DPoP", ExpiresIn: int64(grant.ExpiresIn / time.Second),
		Scope: grant.Claims.Scope, Details: grant.Details,
	}
	if grant.Bearer {
		answer.TokenType = "Bearer"
	}
	if x.grant == discovery.GrantTokenExchange {
		answer.IssuedType = exchange.TypeAccessToken
	}
	_ = httpx.WriteJSON(w, http.StatusOK, answer) // the peer is gone: the token is recorded all the same
	return nil
}

// person answers a grant for people.
func (e *Endpoint) person(w http.ResponseWriter, r *http.Request, x pending, form httpx.Form) error {
	answer, err := e.cfg.People.Grant(r, x.tenant, form)
	if err != nil {
		e.cfg.Trail.Write(r.Context(), trail.Stranger, auditlog.Record{Kind: auditlog.Issue, Tenant: x.tenant, Operation: "login"}, err)
		return err
	}
	_ = httpx.WriteJSON(w, http.StatusOK, answer) // the peer is gone: the session is recorded all the same
	return nil
}

func (e *Endpoint) run(w http.ResponseWriter, r *http.Request, x *pending, form httpx.Form) (issue.Grant, error) {
	ctx := r.Context()
	var err error
	if came, ok := e.workload(r, form, x); ok {
		err = e.admit(w, r, x, came, form)
	} else {
		err = e.authenticate(w, r, x, form)
	}
	if err != nil {
		return issue.Grant{}, err
	}
	if err = e.delegate(ctx, x, form); err != nil {
		return issue.Grant{}, err
	}
	if x.grant == discovery.GrantTokenExchange && x.delegator.IsZero() && !x.admission.IsGrant() {
		subject, err := e.cfg.Subjects.Accept(ctx, x.client.Agent, form)
		if err != nil {
			return issue.Grant{}, err
		}
		x.request.Subject = &subject
	}
	if x.request.Resource, err = target(form); err != nil {
		return issue.Grant{}, err
	}
	if x.request.Scope, err = scope(form); err != nil {
		return issue.Grant{}, err
	}
	if x.request.Details, err = details(form, x); err != nil {
		return issue.Grant{}, err
	}
	return e.cfg.Mint.Issue(ctx, x.request)
}

// authenticate finds the agent that a request is of, by its own key, within its rate.
func (e *Endpoint) authenticate(w http.ResponseWriter, r *http.Request, x *pending, form httpx.Form) error {
	ctx := r.Context()
	var err error
	if x.client, err = e.cfg.Clients.Agent(ctx, x.issuer, r, form); err != nil {
		return err
	}
	failpoint.Hit("mint.authenticated")
	x.request = issue.Request{
		Issuer: x.issuer, Agent: x.client.Agent, Assertion: x.client.Assertion, RequestID: httpx.RequestID(ctx),
	}
	if err = e.limit.Take(ctx, x.client.Agent.Ref); err != nil {
		return err
	}
	x.request.Thumbprint, err = e.proof(w, r, x)
	return err
}

// proof checks the proof of possession (RFC 9449 section 5) and returns the thumbprint of
// its key, "" when there is no proof. Tokens are bound to the agent's own key: a proof by
// another would let whoever stole an assertion bind a token to a key of theirs.
func (e *Endpoint) proof(w http.ResponseWriter, r *http.Request, x *pending) (string, error) {
	proof, err := e.verifyProof(w, r, x)
	if err != nil || proof.JKT == "" {
		return "", err
	}
	if proof.JKT != x.client.Thumbprint {
		return "", agentid.Errorf(agentid.KindInvalid, "dpop_key_mismatch", "the proof is not by the agent's own key").WithField("DPoP")
	}
	return proof.JKT, e.cfg.Guard.Check(proof)
}

// verifyProof reads the proof of a request, the zero Proof when there is none. Its nonce
// and its id have yet to pass the Guard.
func (e *Endpoint) verifyProof(w http.ResponseWriter, r *http.Request, x *pending) (dpop.Proof, error) {
	proofs := r.Header.Values("DPoP")
	if len(proofs) == 0 {
		return dpop.Proof{}, nil
	}
	w.Header().Set("DPoP-Nonce", e.cfg.Guard.Nonce())
	if len(proofs) > 1 {
		return dpop.Proof{}, agentid.Errorf(agentid.KindInvalid, dpop.ReasonInvalid, "more than one DPoP proof").WithField("DPoP")
	}
	return dpop.Verify(proofs[0], dpop.Expect{Method: r.Method, URL: x.issuer + discovery.PathToken, Now: e.cfg.Now()})
}

// refused writes the refusal to the audit log. Where the client is known, its assertion
// is used up in the same transaction: a captured request cannot be tried again. A
// challenge for a nonce leaves it, because clients answer that with the same assertion.
func (e *Endpoint) refused(ctx context.Context, x pending, err error) {
	about := auditlog.Record{Kind: auditlog.Issue, Tenant: x.tenant, Notes: x.admission.Notes()}
	if x.cause != nil {
		err = x.cause
	}
	if x.client.Agent.Ref.IsZero() {
		e.cfg.Trail.Write(ctx, trail.Stranger, about, err)
		return
	}
	about = issue.About(x.request)
	switch agentid.ReasonOf(err) {
	case httperr.UseDPoPNonce, "assertion_replayed":
		e.cfg.Trail.Write(ctx, trail.Challenged, about, err)
		return
	case "rate_agent":
		e.cfg.Trail.Write(ctx, trail.Limited, about, err)
		return
	}
	record := e.cfg.Trail.Record(ctx, about, err)
	if x.client.Assertion.Reusable {
		e.cfg.Trail.Write(ctx, trail.Known, about, err)
		return
	}
	if spent := e.cfg.Clients.Spend(ctx, x.client, record); spent != nil {
		e.cfg.Trail.Write(ctx, trail.Known, about, err)
	}
}
