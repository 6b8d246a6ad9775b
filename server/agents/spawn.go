package agents

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
)

// Spec is an agent to be. Tenant, Type, Key, and Principal or Parent are required.
type Spec struct {
	Tenant    string
	Name      string // empty: a random one
	Type      agentid.Ref
	Principal agentid.Ref // with a Parent: the parent's, and may be zero
	Parent    agentid.Ref
	Kind      ledger.ChildKind
	Key       json.RawMessage // public JWK: Ed25519 or P-256
	// Proof is by the key, for Issuer and whoever asks. An agent must give one.
	Proof, Issuer string
	Expires       time.Time // zero: as late as parent and limits allow
	// Ceiling is what no token of it exceeds: capabilities and template calls, which are
	// expanded. Empty: its type's.
	Ceiling json.RawMessage
	// Enrolment takes a slot of the rule that admits an agent which nobody named.
	Enrolment *ledger.Enrolment
	Notes     map[string]string // for the audit log: who it is where it comes from
}

// writeTimeout bounds the graph's part of a spawn. It is far below recoverAfter, so that
// no write is in flight any more when a spawn is given up.
const writeTimeout = 20 * time.Second

// Register starts an agent that has no parent.
func (s *Service) Register(ctx context.Context, by Actor, spec Spec) (Agent, error) {
	if !spec.Parent.IsZero() {
		return Agent{}, agentid.Invalidf("parent", "an agent that is registered has none")
	}
	return s.Spawn(ctx, by, spec)
}

// Spawn starts an agent, or finds that it is there as asked for. The refusals are those
// of ledger.OpenSpawn, and key_forbidden, key_proof_invalid, template_unknown,
// template_not_of_type: nothing was reserved. KindUnavailable: it is not known whether
// the agent is there; the same call again tells, and what stays open is resolved by
// itself.
func (s *Service) Spawn(ctx context.Context, by Actor, spec Spec) (Agent, error) {
	row, err := s.row(ctx, by, spec)
	if err != nil {
		return Agent{}, err
	}
	operation := "agent.register"
	if !row.Parent.IsZero() {
		operation = "agent.spawn"
	}
	begin := s.record(ctx, by, operation, row)
	if begin.Phase = auditlog.Begin; begin.Request == "" {
		begin.Request = httpx.NewID()
	}
	if spec.Enrolment != nil {
		begin.Operation = "agent.enrol"
	}
	maps.Copy(begin.Notes, spec.Notes)
	opened, err := s.cfg.Ledger.OpenSpawn(ctx, ledger.Spawn{Agent: row, Assertion: by.Assertion, Enrolment: spec.Enrolment}, begin)
	if err != nil {
		return Agent{}, err
	}
	failpoint.Hit("spawn.reserved")
	// The caller may go away; what was begun is ended.
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	finish := begin
	finish.Phase, finish.Principal = auditlog.Finish, opened.Agent.Principal.String()
	for _, member := range append([]ledger.Agent{opened.Agent}, opened.Lineage...) {
		finish.Lineage = append(finish.Lineage, member.Ref.String())
	}
	if err := s.complete(inner, opened.Agent, opened.Lineage, finish); err != nil {
		return Agent{}, err
	}
	return s.Describe(inner, opened.Agent.Ref)
}

// complete makes the edges of an opened spawn and ends it, either way.
func (s *Service) complete(ctx context.Context, a ledger.Agent, line []ledger.Agent, finish auditlog.Record) error {
	if a.State == ledger.AgentActive {
		return s.cfg.Ledger.FinishSpawn(ctx, a.Ref, finish)
	}
	zookie, err := s.writeBirth(ctx, a, line)
	if errors.Is(err, relations.ErrPrecondition) || agentid.KindOf(err) == agentid.KindInvalid && err != nil {
		return s.abort(ctx, a, line, finish)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("spawn.edges")
	finish.Zookie = zookie
	err = s.cfg.Ledger.FinishSpawn(ctx, a.Ref, finish)
	switch agentid.ReasonOf(err) {
	case "agent_unknown":
		return errors.Join(agentid.Unavailable("spawn_in_progress", err), s.unmake(ctx, a.Ref, a.Type))
	case "agent_retired":
		return agentid.Errorf(agentid.KindForbidden, "parent_retired", "the parent, or an agent above it, was retired meanwhile").WithField("parent").WithCause(err)
	}
	if err == nil {
		failpoint.Hit("spawn.active")
	}
	return err
}

// writeBirth writes all edges at once, if the parent is not frozen and nothing has the
// name. Edges that are there already, by an attempt whose end nobody saw, are as good.
func (s *Service) writeBirth(ctx context.Context, a ledger.Agent, line []ledger.Agent) (agentid.Zookie, error) {
	set, err := birth(a, line)
	if err != nil {
		return "", err
	}
	updates, err := relations.All(set)
	if err != nil {
		return "", err
	}
	conditions, err := conditions(a)
	if err != nil {
		return "", err
	}
	zookie, err := s.graph.Write(ctx, updates, conditions...)
	if !errors.Is(err, relations.ErrPrecondition) {
		return zookie, err
	}
	if left, readErr := s.graph.Pending(ctx, set); readErr != nil {
		return "", readErr
	} else if len(left) == 0 {
		return "", nil
	}
	return "", err
}

// abort gives up a spawn that the graph definitely did not take, and says why.
func (s *Service) abort(ctx context.Context, a ledger.Agent, line []ledger.Agent, finish auditlog.Record) error {
	reason := agentid.Errorf(agentid.KindConflict, "agent_exists", "the graph has an agent of this name").WithField("name")
	if len(line) > 0 {
		frozen, err := s.cfg.Ledger.Freezes(ctx, line[0].Ref)
		if err != nil {
			return err
		}
		parent, err := s.cfg.Ledger.Agent(ctx, line[0].Ref)
		if err != nil {
			return err
		}
		switch {
		case parent.State == ledger.AgentRetired:
			reason = agentid.Errorf(agentid.KindForbidden, "parent_retired", "the parent is retired").WithField("parent")
		case len(frozen) > 0:
			reason = agentid.Errorf(agentid.KindForbidden, "parent_frozen", "the parent is frozen").WithField("parent")
		case !parent.Expires.After(s.cfg.Now()):
			reason = agentid.Errorf(agentid.KindForbidden, "parent_expired", "the parent has expired").WithField("parent")
		}
	}
	finish.Decision, finish.Reason, finish.Field = auditlog.Deny, reason.Reason, reason.Field
	if _, err := s.cfg.Ledger.AbortSpawn(ctx, a.Ref, finish); err != nil {
		return err
	}
	return reason
}

// row checks a spec and makes the ledger's row of it.
func (s *Service) row(ctx context.Context, by Actor, spec Spec) (ledger.Agent, error) {
	row := ledger.Agent{Type: spec.Type, Principal: spec.Principal, Parent: spec.Parent, Kind: spec.Kind, PublicKey: spec.Key, Expires: spec.Expires}
	if spec.Name == "" {
		spec.Name = strings.ToLower(rand.Text())
	}
	var err error
	if row.Ref, err = agentid.AgentRef(spec.Tenant, spec.Name); err != nil {
		return row, agentid.AsError(err).WithField("name")
	}
	if spec.Type.IsZero() {
		return row, agentid.Invalidf("type", "is required")
	}
	if spec.Principal.IsZero() && spec.Parent.IsZero() {
		return row, agentid.Invalidf("principal", "is required without a parent")
	}
	key, err := keyproof.ParseKey(spec.Key)
	if err != nil {
		return row, err
	}
	subject := row.Ref
	if !spec.Parent.IsZero() {
		subject = spec.Parent
	}
	if !by.Agent.IsZero() || !by.Principal.IsZero() || spec.Proof != "" {
		if err := keyproof.Verify(spec.Proof, key, keyproof.Claims{Issuer: spec.Issuer, Subject: subject}, s.cfg.Now()); err != nil {
			return row, err
		}
	}
	row.Ceiling, err = s.ceiling(ctx, spec)
	return row, err
}

// ceiling expands the template calls of a ceiling. One without any is kept as written.
func (s *Service) ceiling(ctx context.Context, spec Spec) (json.RawMessage, error) {
	if len(bytes.TrimSpace(spec.Ceiling)) == 0 {
		return nil, nil
	}
	request, err := capability.ParseRequest(spec.Ceiling)
	if err != nil {
		return nil, agentid.AsError(err).WithField("ceiling")
	}
	for _, c := range request.Capabilities {
		if c.Resource.Tenant() != spec.Tenant {
			return nil, agentid.Errorf(agentid.KindForbidden, "tenant_mismatch", "the ceiling names a resource of another tenant").WithField("ceiling")
		}
	}
	if len(request.Templates) == 0 {
		return spec.Ceiling, nil
	}
	typ, err := s.cfg.Ledger.AgentType(ctx, spec.Type)
	if err != nil {
		if e := agentid.AsError(err); e.Kind == agentid.KindNotFound {
			return nil, agentid.Errorf(agentid.KindInvalid, e.Reason, "%s", e.Message).WithField("type")
		}
		return nil, err
	}
	out := request.Capabilities
	for _, call := range request.Templates {
		t, err := issue.Template(ctx, s.cfg.Ledger, spec.Tenant, typ.Templates, call.Template)
		if err != nil {
			return nil, err
		}
		c, err := t.Expand(spec.Tenant, call.Arguments)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return data, nil
}
