package agentid

import (
	"strings"
)

// Object types that the base schema defines. Connectors add their own resource
// types; see Resource.
const (
	TypeTenant    = "tenant"
	TypePrincipal = "principal"
	TypeAgentType = "agent_type"
	TypeAgent     = "agent"
	TypeToken     = "token"
	TypeConnector = "connector"
)

// Lengths in bytes. SpiceDB takes object ids of up to 1,024 bytes; a tenant and
// a name together stay far below that.
const (
	MaxTenantLength = 63
	MaxNameLength   = 256
	maxTypeLength   = 64
)

// Ref names one object of one tenant: "agent:acme/ag-1". It is comparable and can
// be made only by the constructors of this file, so a Ref that is not zero is
// always well formed. The zero Ref names nothing, and nothing accepts it.
type Ref struct{ typ, tenant, name string }

// TenantRef composes the id of a tenant: "tenant:acme".
func TenantRef(tenant string) (Ref, error) {
	if err := checkPart("tenant", tenant, MaxTenantLength); err != nil {
		return Ref{}, err
	}
	return Ref{typ: TypeTenant, tenant: tenant}, nil
}

// PrincipalRef composes the id of a human or service principal.
func PrincipalRef(tenant, name string) (Ref, error) {
	return compose(TypePrincipal, tenant, "principal", name)
}

// AgentTypeRef composes the id of an agent type.
func AgentTypeRef(tenant, name string) (Ref, error) {
	return compose(TypeAgentType, tenant, "agent_type", name)
}

// AgentRef composes the id of one agent instance.
func AgentRef(tenant, name string) (Ref, error) { return compose(TypeAgent, tenant, "agent", name) }

// TokenRef composes the id of one capability token from its jti.
func TokenRef(tenant, jti string) (Ref, error) { return compose(TypeToken, tenant, "jti", jti) }

// ConnectorRef composes the id of one configured connector of a tenant.
func ConnectorRef(tenant, name string) (Ref, error) {
	return compose(TypeConnector, tenant, "connector", name)
}

// ResourceRef composes the id of a connector's resource, such as
// payments_customer:acme/cus_123. The type is a name of a connector's schema
// fragment; the name usually comes from a request and is not trusted.
func ResourceRef(typ, tenant, name string) (Ref, error) {
	if err := checkType(typ); err != nil {
		return Ref{}, err
	}
	return compose(typ, tenant, "resource", name)
}

// ParseRef reads what Ref.String wrote. Anything else is refused with KindInvalid.
func ParseRef(s string) (Ref, error) {
	typ, id, ok := strings.Cut(s, ":")
	if !ok {
		return Ref{}, Invalidf("ref", "want type:tenant/name")
	}
	if typ == TypeTenant {
		return TenantRef(id)
	}
	tenant, name, ok := strings.Cut(id, "/")
	if !ok {
		return Ref{}, Invalidf("ref", "want type:tenant/name")
	}
	return ResourceRef(typ, tenant, name)
}

// ParseRefAs is ParseRef for one expected object type.
func ParseRefAs(typ, s string) (Ref, error) {
	r, err := ParseRef(s)
	if err != nil {
		return Ref{}, err
	}
	if r.typ != typ {
		return Ref{}, Invalidf(typ, "names another type of object")
	}
	return r, nil
}

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Type is the SpiceDB object type, for example "agent".
func (r Ref) Type() string { return r.typ }

// Tenant is the tenant's id, for example "acme".
func (r Ref) Tenant() string { return r.tenant }

// Name is the part below the tenant. It is empty for a tenant.
func (r Ref) Name() string { return r.name }

// ObjectID is the SpiceDB object id: "acme/ag-1", or "acme" for a tenant.
func (r Ref) ObjectID() string {
	if r.name == "" {
		return r.tenant
	}
	return r.tenant + "/" + r.name
}

// String is the one text form: "agent:acme/ag-1"; "" for the zero Ref.
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	return r.typ + ":" + r.ObjectID()
}

// MarshalText implements encoding.TextMarshaler.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; empty text is the zero Ref.
func (r *Ref) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Ref{}
		return nil
	}
	parsed, err := ParseRef(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

func compose(typ, tenant, field, name string) (Ref, error) {
	if err := checkPart("tenant", tenant, MaxTenantLength); err != nil {
		return Ref{}, err
	}
	if err := checkPart(field, name, MaxNameLength); err != nil {
		return Ref{}, err
	}
	return Ref{typ: typ, tenant: tenant, name: name}, nil
}

// checkPart admits a letter or digit followed by letters, digits, '_', '-' and '=':
// a subset of what SpiceDB takes, without its separators and wildcard.
func checkPart(field, s string, limit int) error {
	switch {
	case s == "":
		return Invalidf(field, "must not be empty")
	case len(s) > limit:
		return Invalidf(field, "is longer than %d bytes", limit)
	case !isAlnum(s[0]):
		return Invalidf(field, "must begin with a letter or a digit")
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '-' && c != '=' {
			return Invalidf(field, "holds a character other than letters, digits, '_', '-' and '='")
		}
	}
	return nil
}

// checkType admits the type names that SpiceDB's schema language takes.
func checkType(s string) error {
	if len(s) < 3 || len(s) > maxTypeLength || s[0] < 'a' || s[0] > 'z' || s == TypeTenant {
		return Invalidf("type", "is not the name of a resource type")
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return Invalidf("type", "is not the name of a resource type")
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
