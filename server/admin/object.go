package admin

import (
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/server/ledger"
)

// The kinds of object, in the order in which they are written: each refers to earlier
// ones only.
const (
	KindTenant    = "tenant"
	KindPrincipal = "principal"
	KindConnector = "connector"
	KindAgentType = "agent_type"
	KindTemplate  = "template"
	KindGrant     = "grant"
	KindAgent     = "agent"

	KindIdentityProvider = ledger.TypeIdentityProvider
	KindLoginClient      = ledger.TypeLoginClient
	KindWorkloadIssuer   = ledger.TypeWorkloadIssuer
	KindEnrolmentRule    = ledger.TypeEnrolmentRule
)

// order is the place of a kind in a set that is applied.
var order = map[string]int{
	KindTenant: 1, KindPrincipal: 2, KindConnector: 3, KindAgentType: 4, KindTemplate: 5, KindGrant: 6, KindAgent: 7,
	KindIdentityProvider: 8, KindLoginClient: 9, KindWorkloadIssuer: 10, KindEnrolmentRule: 11,
}

// Header names an object. Tenant is empty for a tenant, Name for a grant.
type Header struct {
	Kind   string `json:"kind"`
	Tenant string `json:"tenant,omitempty"`
	Name   string `json:"name,omitempty"`
}

// State is what answers say beside the declaration; it is refused in a request.
type State struct {
	State   string   `json:"state,omitempty"` // "active", "frozen", "retired", "expired"
	Reasons []string `json:"frozen_for,omitempty"`
}

// Tenant is an organisation.
type Tenant struct {
	Header
	Display string `json:"display,omitempty"`
	Limits         // of its agents
	State
}

// Principal is a human or a service on whose behalf agents act, known at its source
// by issuer and subject.
type Principal struct {
	Header
	Type    string `json:"type"` // "human" or "service"
	Display string `json:"display,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	State
}

// AgentType is the template that policy attaches to.
type AgentType struct {
	Header
	Display      string          `json:"display,omitempty"`
	OwnAuthority bool            `json:"own_authority,omitempty"` // its agents need no permission of their principal
	Launchers    []string        `json:"launchers,omitempty"`     // names of principals who may start one
	Ceiling      json.RawMessage `json:"ceiling,omitempty"`       // of agents that bring none
	Limits                       // of its agents, beside the tenant's
	Templates    []string        `json:"templates,omitempty"` // names of those its agents may use; empty: all
	// Names of the types that its agents may spawn; empty: none.
	Children            []string `json:"children,omitempty"`             // attenuated ones
	IndependentChildren []string `json:"independent_children,omitempty"` // ones with their own authority
	State
}

// Limits bound how agents multiply. 0: the tenant's limit, or the broker's default.
type Limits struct {
	MaxDepth    int   `json:"max_depth,omitempty"`    // ancestors of an agent
	MaxChildren int   `json:"max_children,omitempty"` // of an agent at a time; of a type: its agents as parents
	MaxLive     int   `json:"max_live,omitempty"`     // agents of one principal at a time
	MaxSeconds  int64 `json:"max_lifetime_seconds,omitempty"`
}

// Template is a named capability template.
type Template struct {
	Header
	Connector  string                         `json:"connector"`
	Arguments  map[string]capability.Argument `json:"arguments,omitempty"`
	Resource   string                         `json:"resource"`
	Operations []string                       `json:"operations"`
	Limits     map[string]map[string]any      `json:"constraints,omitempty"`
}

// Connector is the setting of one downstream API.
type Connector struct {
	Header
	Type                 string `json:"type"`               // the kind of connector: "payments"
	Resource             string `json:"resource"`           // public URL at the gateway, scheme://host[:port]
	Upstream             string `json:"upstream,omitempty"` // scheme://host[:port]
	AllowPrivateUpstream bool   `json:"allow_private_upstream,omitempty"`
	AllowBearer          bool   `json:"allow_bearer,omitempty"`
	BearerSeconds        int64  `json:"bearer_seconds,omitempty"` // the longest life of an unbound token
	StrictReadAudit      bool   `json:"strict_read_audit,omitempty"`
	IntrospectionOnly    bool   `json:"introspection_only,omitempty"`
	Rates                Rates  `json:"rates,omitzero"`
	Credential           string `json:"credential,omitempty"` // the upstream's; write-only
	CredentialSet        bool   `json:"credential_set,omitempty"`
	State
}

// Rates are a connector's limits. 0: the gateway's default.
type Rates struct {
	TokenPerMinute int `json:"token_per_minute,omitempty"`
	TokenBurst     int `json:"token_burst,omitempty"`
	AgentPerMinute int `json:"agent_per_minute,omitempty"`
	AgentBurst     int `json:"agent_burst,omitempty"`
}

// Grant is one relationship of a tenant's policy: who may do what on a connector's
// resource, within the bounds of a caveat.
type Grant struct {
	Header
	Resource string         `json:"resource"` // "payments_account:acme/stripe"
	Relation string         `json:"relation"` // "refunder"
	Subject  string         `json:"subject"`  // "agent_type:acme/refunds", "principal:acme/alice", "agent:*" or "principal:*"
	Caveat   string         `json:"caveat,omitempty"`
	Context  map[string]any `json:"context,omitempty"`
}

// Agent is one running instance of a type, known by its public key.
type Agent struct {
	Header
	Type      string          `json:"type"`
	Principal string          `json:"principal,omitempty"`  // whom it acts for; a service principal when it is autonomous. With a parent: the parent's
	Parent    string          `json:"parent,omitempty"`     // name of the agent that it is a child of
	ChildKind string          `json:"child_kind,omitempty"` // "attenuated" (default) or "independent"
	Key       json.RawMessage `json:"key"`                  // public JWK: Ed25519 or P-256
	Expires   time.Time       `json:"expires"`
	Ceiling   json.RawMessage `json:"ceiling,omitempty"` // capabilities that no token of it exceeds
	State
}

func (h *Header) head() *Header { return h }
func (s *State) given() bool    { return s.State != "" || len(s.Reasons) > 0 }

// newObject makes an empty object of a kind; nil for an unknown one.
func newObject(kind string) object {
	switch kind {
	case KindTenant:
		return &Tenant{}
	case KindPrincipal:
		return &Principal{}
	case KindAgentType:
		return &AgentType{}
	case KindTemplate:
		return &Template{}
	case KindConnector:
		return &Connector{}
	case KindGrant:
		return &Grant{}
	case KindAgent:
		return &Agent{}
	case KindIdentityProvider:
		return &IdentityProvider{}
	case KindLoginClient:
		return &LoginClient{}
	case KindWorkloadIssuer:
		return &WorkloadIssuer{}
	case KindEnrolmentRule:
		return &EnrolmentRule{}
	default:
		return nil
	}
}
