package issue

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/server/ledger"
)

// decided is the outcome of all decisions for one token, with the floor they rest on.
type decided struct {
	allowed     []policy.Allowed
	zookie      agentid.Zookie // the newest revision that was decided at
	epoch       agentid.Epoch
	incarnation string
}

// granted is what a token will say, with the counts that it inherits.
type granted struct {
	capabilities []capability.Capability
	counters     map[string][]capability.Counter
}

// decide asks policy about every operation of every capability, each at a revision no
// older than the one before.
func (m *Mint) decide(ctx context.Context, req Request, t target, capabilities []capability.Capability) (decided, error) {
	a := req.Agent
	floor, epoch, incarnation, err := m.cfg.Fleet.Floor(ctx)
	if err != nil {
		return decided{}, err
	}
	d := decided{zookie: floor, epoch: epoch, incarnation: incarnation}
	tokens, err := req.tokens()
	if err != nil {
		return decided{}, err
	}
	if s := req.Subject; s != nil && !req.standing() && s.Context.Epoch >= epoch {
		d.zookie = s.Context.Zookie // decided at the floor or after it
	}
	lineage := make([]policy.Member, len(a.Lineage))
	for i, member := range a.Lineage {
		lineage[i] = policy.Member{Agent: member.Agent, Attenuated: member.Attenuated}
	}
	for _, c := range capabilities {
		resources, err := t.resources(c.Resource)
		if err != nil {
			return decided{}, err
		}
		for _, name := range c.Operations {
			op, ok := t.kind.Operation(name)
			if !ok {
				return decided{}, fmt.Errorf("issue: operation %q is gone", name)
			}
			allowed, err := m.cfg.Decider.Decide(ctx, policy.Question{
				Stage: policy.StageIssue, Lineage: lineage, Principal: a.Principal, OwnAuthority: a.OwnAuthority,
				Tokens: tokens, Operation: name, Permission: op.Permission, Barred: op.Barred,
				Resources: resources, Account: t.account, AtLeast: d.zookie,
			})
			if err != nil {
				return decided{}, req.decisionError(err)
			}
			if !allowed.Covers(name, c.Resource) {
				return decided{}, fmt.Errorf("issue: the decision does not cover %s", name)
			}
			d.allowed = append(d.allowed, allowed)
			d.zookie = allowed.Zookie()
		}
	}
	failpoint.Hit("mint.decided")
	return d, nil
}

// sign makes the token and records it. Nothing that fails here leaves a usable token:
// before the record is on disk the caller has not seen it.
func (m *Mint) sign(ctx context.Context, req Request, t target, g granted, d decided) (Grant, error) {
	now := m.cfg.Now()
	claims, err := m.claims(req, t, g, d, now)
	if err != nil {
		return Grant{}, err
	}
	for _, a := range d.allowed {
		if err := a.StillGood(now); err != nil {
			return Grant{}, err
		}
	}
	signer, err := m.signer()
	if err != nil {
		return Grant{}, err
	}
	token, err := signer.Sign(claims)
	if err != nil {
		return Grant{}, signingError(err)
	}
	if len(token) > capability.MaxTokenBytes {
		return Grant{}, agentid.Errorf(agentid.KindForbidden, "token_too_large", "the token would have %d bytes, at most %d: ask for less",
			len(token), capability.MaxTokenBytes).WithField("authorization_details")
	}
	failpoint.Hit("mint.signed")
	details, err := json.Marshal(claims.Capabilities)
	if err != nil {
		return Grant{}, fmt.Errorf("issue: %w", err)
	}
	recorded, err := entry(req, t, claims, details, d)
	if err != nil {
		return Grant{}, err
	}
	if err := m.cfg.Ledger.RecordIssue(ctx, recorded); err != nil {
		return Grant{}, err
	}
	failpoint.Hit("mint.recorded")
	return Grant{Token: token, Claims: claims, Details: details, Bearer: req.Thumbprint == "", ExpiresIn: claims.Expiry.Sub(claims.IssuedAt)}, nil
}

// prepared is a signer of the active key.
type prepared struct {
	key    jose.SigningKey
	signer *capability.Signer
}

// signer is of the key that is active now. It is kept for as long as that key is.
func (m *Mint) signer() (*capability.Signer, error) {
	key, err := m.cfg.Signer.Active()
	if err != nil {
		return nil, err
	}
	if p := m.prepared.Load(); p != nil && sameKey(p.key, key) {
		return p.signer, nil
	}
	signer, err := capability.NewSigner(key)
	if err != nil {
		return nil, signingError(err)
	}
	m.prepared.Store(&prepared{key, signer})
	return signer, nil
}

// sameKey compares the private halves, whatever the keys are called. Keys of another kind
// are never the same.
func sameKey(a, b jose.SigningKey) bool {
	x, ok := a.Key.(jose.JSONWebKey)
	y, ok2 := b.Key.(jose.JSONWebKey)
	if !ok || !ok2 || a.Algorithm != b.Algorithm || x.KeyID != y.KeyID {
		return false
	}
	private, ok := x.Key.(interface{ Equal(crypto.PrivateKey) bool })
	return ok && private.Equal(y.Key)
}

// signingError keeps an outage and makes anything else ours: the claims are not the
// client's to mend.
func signingError(err error) error {
	if agentid.KindOf(err) == agentid.KindUnavailable {
		return err
	}
	return agentid.Errorf(agentid.KindInternal, "internal", "internal error").WithCause(fmt.Errorf("sign: %w", err))
}

func (m *Mint) claims(req Request, t target, g granted, d decided, now time.Time) (capability.Claims, error) {
	expiry, err := m.expiry(req, t, now)
	if err != nil {
		return capability.Claims{}, err
	}
	lineage := make([]agentid.Ref, len(req.Agent.Lineage))
	var attenuated []agentid.Ref
	for i, member := range req.Agent.Lineage {
		lineage[i] = member.Agent
		if member.Attenuated {
			attenuated = append(attenuated, member.Agent)
		}
	}
	subject := req.Agent.Principal
	if req.Agent.Autonomous {
		subject = req.Agent.Ref
	}
	issued := now.Truncate(time.Second)
	return capability.Claims{
		Issuer: req.Issuer, Subject: subject.String(), ClientID: req.Agent.Ref.String(),
		Audience: t.connector.Resource, ID: httpx.NewID(), Scope: capability.Scope(g.capabilities),
		IssuedAt: issued, NotBefore: issued, Expiry: expiry,
		Actor: capability.NewActor(lineage), Capabilities: g.capabilities,
		Confirmation: capability.Confirmation{JKT: req.Thumbprint, X5T: req.Certificate},
		Context: capability.Context{
			Tenant: req.Agent.Ref.Tenant(), AgentType: req.Agent.Type, Principal: req.Agent.Principal,
			Zookie: d.zookie, Epoch: d.epoch, Incarnation: d.incarnation, PolicyVersion: m.cfg.PolicyVersion(),
			LineageDigest: capability.LineageDigest(lineage), Attenuated: attenuated, OwnAuthority: req.Agent.OwnAuthority,
			Chain: req.chain(), Delegation: req.delegation(), Counters: g.counters,
		},
	}, nil
}

// expiry is in whole seconds and never beyond the agent's own and the Subject's. A token
// that is not bound to a key is given only where the connector allows it, for its shorter
// life, and never from one that is bound.
func (m *Mint) expiry(req Request, t target, now time.Time) (time.Time, error) {
	life := m.cfg.Lifetime
	if req.Thumbprint == "" && req.Certificate == "" {
		if req.Subject != nil && !req.Subject.Confirmation.IsZero() {
			return time.Time{}, agentid.Errorf(agentid.KindInvalid, "dpop_required", "the subject token is bound to a key, so this one must be: send a DPoP proof").WithField("DPoP")
		}
		if !t.connector.AllowBearer {
			return time.Time{}, agentid.Errorf(agentid.KindInvalid, "dpop_required", "this connector takes only tokens that are bound to a key: send a DPoP proof").WithField("DPoP")
		}
		bearer := t.connector.BearerLifetime
		if bearer <= 0 {
			bearer = DefaultBearerLifetime
		}
		life = min(life, bearer)
	}
	expiry := now.Truncate(time.Second).Add(life.Truncate(time.Second))
	if end := req.Agent.Expires.Truncate(time.Second); !req.Agent.Expires.IsZero() && end.Before(expiry) {
		expiry = end
	}
	if req.Subject != nil && req.Subject.Expiry.Before(expiry) {
		expiry = req.Subject.Expiry.Truncate(time.Second)
	}
	if d := req.Delegated; d != nil && d.Expires.Before(expiry) {
		expiry = d.Expires.Truncate(time.Second)
	}
	if !now.Before(expiry) {
		return time.Time{}, agentid.Errorf(agentid.KindForbidden, "agent_expired", "the agent, or the token that this is made from, expires before a token could be used")
	}
	return expiry, nil
}

// entry is what the ledger keeps of the token.
func entry(req Request, t target, claims capability.Claims, details json.RawMessage, d decided) (ledger.Issue, error) {
	ref, err := agentid.TokenRef(claims.Context.Tenant, claims.ID)
	if err != nil {
		return ledger.Issue{}, fmt.Errorf("issue: %w", err)
	}
	return ledger.Issue{
		Token: ledger.Token{
			Ref: ref, Agent: req.Agent.Ref, Principal: req.Agent.Principal, Audience: claims.Audience,
			Issued: claims.IssuedAt, Expires: claims.Expiry, Details: details,
		},
		Assertion: req.Assertion,
		Basis:     req.Agent.Basis,
		BasisAt:   req.Agent.BasisAt,
		Record:    record(req, t, claims, d),
	}, nil
}

func record(req Request, t target, claims capability.Claims, d decided) auditlog.Record {
	rec := About(req)
	rec.Phase, rec.Decision = auditlog.Single, auditlog.Allow
	rec.Operation = claims.Scope
	rec.Resource = claims.Capabilities[0].Resource.String()
	rec.InputsDigest = claims.Capabilities[0].Digest()
	rec.Token = claims.ID
	rec.PolicyVersion, rec.Zookie, rec.Epoch = claims.Context.PolicyVersion, d.zookie, d.epoch
	for _, leg := range d.allowed[0].Legs() {
		rec.Legs = append(rec.Legs, auditlog.Leg{Name: leg.Name, Outcome: leg.Outcome})
	}
	binding := "dpop"
	switch {
	case req.Certificate != "":
		binding = "mtls"
	case req.Thumbprint == "":
		binding = "bearer"
	}
	maps.Copy(rec.Notes, map[string]string{
		"binding": binding, "connector": t.connector.Ref.String(),
		"capabilities": strconv.Itoa(len(claims.Capabilities)), "expires": claims.Expiry.UTC().Format(time.RFC3339),
	})
	return rec
}

// About is the part of an audit record that every outcome of req shares.
func About(req Request) auditlog.Record {
	rec := auditlog.Record{
		Kind: auditlog.Issue, Request: req.RequestID, Tenant: req.Agent.Ref.Tenant(),
		Principal: req.Agent.Principal.String(), Agent: req.Agent.Ref.String(), AgentType: req.Agent.Type.String(),
	}
	rec.Notes = map[string]string{}
	maps.Copy(rec.Notes, req.Notes)
	if req.Subject != nil {
		rec.Notes["subject_token"] = req.Subject.ID
	}
	if req.Delegated != nil {
		maps.Copy(rec.Notes, req.Delegated.Notes)
	}
	for _, member := range req.Agent.Lineage {
		rec.Lineage = append(rec.Lineage, member.Agent.String())
	}
	if len(req.Details.Capabilities) > 0 {
		rec.Operation = capability.Scope(req.Details.Capabilities)
		rec.Resource = req.Details.Capabilities[0].Resource.String()
	}
	return rec
}
