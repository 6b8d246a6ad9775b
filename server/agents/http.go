package agents

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/clientauth"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/trail"
)

// Path is where the endpoints of agents are, below an issuer.
const Path = "/agents/v1"

const maxBody = 64 << 10

// Clients authenticates an agent by the assertion in its Authorization header.
type Clients interface {
	Bearer(ctx context.Context, issuer string, r *http.Request) (clientauth.Client, error)
	// Spend uses up an assertion, together with the audit records.
	Spend(ctx context.Context, c clientauth.Client, records ...auditlog.Record) error
}

// EndpointsConfig configures NewEndpoints. All but Logger are required.
type EndpointsConfig struct {
	Service *Service
	Issuers discovery.Issuers
	Clients Clients
	Trail   *trail.Trail
	Limit   Limit
	Logger  *slog.Logger
}

// Limit bounds how often one agent calls: KindRateLimited when it is too often.
type Limit interface {
	Take(ctx context.Context, agent agentid.Ref) error
}

// Endpoints are what an agent asks about itself and its children.
type Endpoints struct{ cfg EndpointsConfig }

// NewEndpoints checks cfg.
func NewEndpoints(cfg EndpointsConfig) (*Endpoints, error) {
	if cfg.Service == nil || cfg.Issuers.Root() == "" || cfg.Clients == nil || cfg.Trail == nil || cfg.Limit == nil {
		return nil, errors.New("agents: a required part of the endpoints is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Endpoints{cfg: cfg}, nil
}

// Routes registers the endpoints below prefix, which may hold the tenant's parameter.
func (e *Endpoints) Routes(r chi.Router, prefix string) {
	r.Post(prefix+Path+"/spawn", e.handle("agent.spawn", e.spawn))
	r.Post(prefix+Path+"/rotate", e.handle("agent.rotate", e.rotate))
	r.Post(prefix+Path+"/retire", e.handle("agent.retire", e.retire))
	r.Get(prefix+Path+"/self", e.handle("agent.self", e.self))
	r.Get(prefix+Path+"/tree", e.handle("agent.tree", e.tree))
}

// call is one authenticated request.
type call struct {
	issuer string
	client clientauth.Client
}

func (c call) actor() Actor {
	return Actor{Agent: c.client.Agent.Ref, Assertion: c.client.Assertion}
}

// handle authenticates, and audits a refusal: of a known agent together with its
// assertion, so that a captured request cannot be tried again.
func (e *Endpoints) handle(operation string, h func(w http.ResponseWriter, r *http.Request, c call) error) http.HandlerFunc {
	return httperr.Handler(e.cfg.Logger, httperr.Problem, func(w http.ResponseWriter, r *http.Request) error {
		ctx, tenant := r.Context(), chi.URLParam(r, discovery.ParamTenant)
		about := auditlog.Record{Kind: auditlog.Admin, Tenant: tenant, Operation: operation}
		if tenant != "" {
			if _, err := agentid.TenantRef(tenant); err != nil {
				return agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is nothing at this path")
			}
		}
		c := call{issuer: e.cfg.Issuers.Of(tenant)}
		var err error
		if c.client, err = e.cfg.Clients.Bearer(ctx, c.issuer, r); err != nil {
			e.cfg.Trail.Write(ctx, trail.Stranger, about, err)
			w.Header().Set("WWW-Authenticate", `Bearer realm="agentid agents"`)
			return err
		}
		if err = e.cfg.Limit.Take(ctx, c.client.Agent.Ref); err == nil {
			err = h(w, r, c)
		}
		if err != nil {
			e.refused(ctx, c, about, err)
		}
		return err
	})
}

func (e *Endpoints) refused(ctx context.Context, c call, about auditlog.Record, err error) {
	agent := c.client.Agent
	about.Tenant, about.Agent, about.AgentType, about.Principal = agent.Ref.Tenant(), agent.Ref.String(), agent.Type.String(), agent.Principal.String()
	for _, member := range agent.Lineage {
		about.Lineage = append(about.Lineage, member.Agent.String())
	}
	switch agentid.ReasonOf(err) {
	case "assertion_replayed":
		e.cfg.Trail.Write(ctx, trail.Challenged, about, err)
		return
	case "rate_agent":
		e.cfg.Trail.Write(ctx, trail.Limited, about, err)
		return
	}
	if spent := e.cfg.Clients.Spend(ctx, c.client, e.cfg.Trail.Record(ctx, about, err)); spent != nil {
		e.cfg.Trail.Write(ctx, trail.Known, about, err)
	}
}

// spawnRequest is the body of POST spawn.
type spawnRequest struct {
	Name      string          `json:"name"`
	Type      string          `json:"type"` // name, or ref, of an agent type of the tenant
	ChildKind string          `json:"child_kind"`
	Key       json.RawMessage `json:"key"`
	KeyProof  string          `json:"key_proof"`
	Expires   time.Time       `json:"expires"`
	Ceiling   json.RawMessage `json:"ceiling"`
}

func (e *Endpoints) spawn(w http.ResponseWriter, r *http.Request, c call) error {
	var in spawnRequest
	if err := read(w, r, &in); err != nil {
		return err
	}
	kind, err := ledger.ParseChildKind(in.ChildKind)
	if err != nil {
		return err
	}
	spec := Spec{
		Tenant: c.client.Agent.Ref.Tenant(), Name: in.Name, Parent: c.client.Agent.Ref, Kind: kind, Key: in.Key, Proof: in.KeyProof,
		Issuer: c.issuer, Expires: in.Expires, Ceiling: in.Ceiling,
	}
	if spec.Type, err = typeRef(spec.Tenant, in.Type); err != nil {
		return err
	}
	child, err := e.cfg.Service.Spawn(r.Context(), c.actor(), spec)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, child)
}

// typeRef reads an agent type by its name or its ref.
func typeRef(tenant, text string) (agentid.Ref, error) {
	if text == "" {
		return agentid.Ref{}, agentid.Invalidf("type", "is required")
	}
	ref, err := agentid.AgentTypeRef(tenant, text)
	if strings.Contains(text, ":") {
		ref, err = agentid.ParseRefAs(agentid.TypeAgentType, text)
	}
	if err != nil {
		return ref, agentid.AsError(err).WithField("type")
	}
	return ref, nil
}

func (e *Endpoints) rotate(w http.ResponseWriter, r *http.Request, c call) error {
	var in struct {
		Key      json.RawMessage `json:"key"`
		KeyProof string          `json:"key_proof"`
	}
	if err := read(w, r, &in); err != nil {
		return err
	}
	agent, err := e.cfg.Service.Rotate(r.Context(), c.actor(), c.issuer, in.Key, in.KeyProof)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, agent)
}

// retire ends the caller, or the descendant that the body names.
func (e *Endpoints) retire(w http.ResponseWriter, r *http.Request, c call) error {
	var in struct {
		Agent string `json:"agent"`
	}
	if err := read(w, r, &in); err != nil {
		return err
	}
	target := c.client.Agent.Ref
	if in.Agent != "" {
		var err error
		if target, err = agentid.ParseRefAs(agentid.TypeAgent, in.Agent); err != nil {
			return agentid.AsError(err).WithField("agent")
		}
	}
	if err := e.cfg.Clients.Spend(r.Context(), c.client); err != nil {
		return err
	}
	change, err := e.cfg.Service.Retire(r.Context(), Actor{Agent: c.client.Agent.Ref}, target)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, change)
}

func (e *Endpoints) self(w http.ResponseWriter, r *http.Request, c call) error {
	if err := e.cfg.Clients.Spend(r.Context(), c.client); err != nil {
		return err
	}
	agent, err := e.cfg.Service.Describe(r.Context(), c.client.Agent.Ref)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, agent)
}

// tree shows the caller with its descendants.
func (e *Endpoints) tree(w http.ResponseWriter, r *http.Request, c call) error {
	if err := e.cfg.Clients.Spend(r.Context(), c.client); err != nil {
		return err
	}
	tree, err := e.cfg.Service.Tree(r.Context(), c.client.Agent.Ref, false)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, tree)
}

func answer(w http.ResponseWriter, status int, v any) error {
	_ = httpx.WriteJSON(w, status, v) // the peer is gone: what was done is done
	return nil
}

// read reads a JSON body strictly: no unknown member, none twice.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	if err := httpx.CheckContentType(r, "application/json"); err != nil {
		return err
	}
	data, err := httpx.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	tree, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxBody})
	if err != nil || tree.Kind() != strictjson.Object {
		return agentid.Invalidf("", "want one strict JSON object").WithCause(err)
	}
	members, _ := tree.Members()
	for _, m := range members {
		if m.Name != strings.ToLower(m.Name) { // Go's decoder ignores case
			return agentid.Invalidf(m.Name, "is not a known field")
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return bodyError(err)
	}
	return nil
}

func bodyError(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return agentid.Invalidf(t.Field, "has the wrong type: %s", t.Value)
	}
	if name, ok := strings.CutPrefix(err.Error(), `json: unknown field "`); ok {
		return agentid.Invalidf(strings.TrimSuffix(name, `"`), "is not a known field")
	}
	return agentid.Invalidf("", "cannot be read").WithCause(err)
}
