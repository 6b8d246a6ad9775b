package schema

// Object types of the base schema, as agentid.Ref.Type gives them.
const (
	TypeTenant    = "tenant"
	TypePrincipal = "principal"
	TypeAgentType = "agent_type"
	TypeAgent     = "agent"
	TypeToken     = "token"

	TypeDelegation = "delegation"
)

// Relations and permissions of tenant.
const (
	TenantAdmin      = "admin"
	TenantAuditor    = "auditor"
	TenantMember     = "member"
	TenantEnabled    = "enabled" // agent:*
	TenantAdminister = "administer"
	TenantAudit      = "audit"
)

// Relations of principal.
const (
	PrincipalTenant  = "tenant"
	PrincipalEnabled = "enabled" // agent:*
)

// Relations and permissions of agent_type.
const (
	AgentTypeTenant   = "tenant"
	AgentTypeLauncher = "launcher"
	AgentTypeInstance = "instance"
	AgentTypeEnabled  = "enabled" // agent:*
	AgentTypeLaunch   = "launch"
)

// Relations and permissions of agent.
const (
	AgentTenant    = "tenant"
	AgentType      = "type"
	AgentPrincipal = "principal"
	AgentParent    = "parent"
	AgentLineage   = "lineage" // itself and all of its ancestors
	AgentEnabled   = "enabled" // agent:*, always with an expiry
	AgentAlive     = "alive"
	AgentLive      = "live"
)

// Relations and permissions of token.
const (
	TokenRevoked   = "revoked" // agent:*, always with an expiry
	TokenIsRevoked = "is_revoked"
)

// Relations and permissions of delegation. Every edge has an expiry.
const (
	DelegationTenant    = "tenant"
	DelegationPrincipal = "principal" // who granted it
	DelegationType      = "type"      // agent_type
	DelegationGranted   = "granted"   // agent_type#instance
	DelegationUse       = "use"
)

// Object types and the caveat of the payments fragment.
const (
	TypePaymentsAccount  = "payments_account"
	TypePaymentsCustomer = "payments_customer"

	CaveatPaymentsLimit = "payments_limit"

	PaymentsLimitAmount     = "amount"     // int, minor units; from the request
	PaymentsLimitCurrency   = "currency"   // string, ISO 4217 lower case; from the request
	PaymentsLimitMaxAmount  = "max_amount" // int, minor units; on the relationship
	PaymentsLimitCurrencies = "currencies" // list<string>; on the relationship
)

// Relations and permissions of payments_account. payments_customer has those from
// PaymentsTenant on, PaymentsEnabled and PaymentsActive excepted.
const (
	PaymentsEnabled        = "enabled" // agent:* and principal:*
	PaymentsActive         = "active"
	PaymentsTenant         = "tenant"
	PaymentsRefunder       = "refunder"
	PaymentsReader         = "reader"
	PaymentsPreviewer      = "previewer"
	PaymentsBarredRefunder = "barred_refunder"
	PaymentsRefund         = "refund"
	PaymentsRead           = "read"
	PaymentsPreview        = "preview"
	PaymentsBarredRefund   = "barred_refund"
)

// AccountActive is the permission that every connector's account type must have: it is
// asked, for the agent, in every decision on an operation.
const AccountActive = PaymentsActive
