package connectors

import (
	"maps"
	"net/http"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors/payments"
)

// Builtin returns the kinds of connector that ship with AgentID, by name. A manifest
// that does not compile is a defect of this build: Builtin panics, and the package's
// tests compile each.
func Builtin() map[string]*Kind {
	kinds := map[string]*Kind{}
	for _, text := range [][]byte{payments.Manifest} {
		k, err := Compile(text)
		if err != nil {
			panic(err)
		}
		kinds[k.Name] = k
	}
	return kinds
}

// Effect says what an operation does to the upstream. The zero Effect is invalid and
// matches no operation.
type Effect int

// The effects. Write and Irreversible need an Idempotency-Key and a reservation.
const (
	_ Effect = iota
	Read
	Write
	Irreversible
)

// String is the manifest's word for e.
func (e Effect) String() string {
	switch e {
	case Read:
		return "read"
	case Write:
		return "write"
	case Irreversible:
		return "irreversible"
	default:
		return "invalid"
	}
}

// Changes reports whether e alters the upstream. An invalid Effect does.
func (e Effect) Changes() bool { return e != Read }

// Credential says how the connector's own credential travels.
type Credential struct {
	Header   string // "Authorization"
	Scheme   string // "Bearer"; empty: the bare secret
	Rejected []int  // upstream statuses that mean "this credential is not accepted"
}

// Environment names the variables that the SDKs of an API read, for a program that is
// started with a proxy beside it.
type Environment struct {
	BaseURL     []string // hold the API's base URL: "STRIPE_API_BASE"
	Placeholder []string // hold the API's key: they get one that opens nothing
}

// Kind is one compiled manifest. It does not change after Compile.
type Kind struct {
	Name              string // "payments"
	AccountType       string // "payments_account"
	Dialect           string // shape of errors on refusal: "stripe"
	Credential        Credential
	IdempotencyHeader string // "Idempotency-Key"
	MaxKeyLength      int    // of the idempotency key, in bytes
	MaxBody           int64  // bytes
	MaxParameters     int    // of a form or a query
	Environment       Environment

	forward, refuse, respond map[string]bool
	resources                map[string][]string // type → its ancestor types
	operations               map[string]*Operation
	routes                   []*Operation // sorted by name
}

// Operation is one action of a connector and the request that it is.
type Operation struct {
	Name         string // "payments:refund"
	Permission   string // "refund"
	Barred       string // "barred_refund"; empty: cannot be barred
	ResourceType string // "payments_customer"; the request may fall back to the account
	Effect       Effect
	Method       string
	ContentType  string // of the body; empty: no body

	kind       *Kind
	path       pattern
	inputs     map[string]input // by name
	parameters map[string]input // those of query and form, by parameter
	required   []string         // of inputs, sorted
	exactlyOne []string
	pass       []passthrough
	lookups    []*Lookup
	derived    map[string]string
	resource   resourceExpr
	context    map[string]string
	hold       *holdExpr
	facts      []string
}

// Operation finds an operation by its full name, "payments:refund".
func (k *Kind) Operation(name string) (*Operation, bool) {
	o, ok := k.operations[name]
	return o, ok
}

// Operations lists all operations, sorted by name.
func (k *Kind) Operations() []*Operation { return slices.Clone(k.routes) }

// ResourceTypes lists the resource types that operations of this kind touch, sorted.
func (k *Kind) ResourceTypes() []string { return slices.Sorted(maps.Keys(k.resources)) }

// AccountRef is the object that stands for the whole configured connector in the
// graph: payments_account:acme/stripe.
func (k *Kind) AccountRef(tenant, connector string) (agentid.Ref, error) {
	return agentid.ResourceRef(k.AccountType, tenant, connector)
}

// Resources is resource followed by its ancestors, the account last. A resource of
// another tenant, of a type that the kind does not know, or the account of another
// connector is refused with KindForbidden "resource_foreign".
func (k *Kind) Resources(tenant, connector string, resource agentid.Ref) ([]agentid.Ref, error) {
	account, err := k.AccountRef(tenant, connector)
	if err != nil {
		return nil, err
	}
	ancestors, known := k.resources[resource.Type()]
	foreign := resource.Type() == k.AccountType && resource != account
	if !known || resource.Tenant() != tenant || foreign {
		return nil, &agentid.Error{
			Kind: agentid.KindForbidden, Reason: "resource_foreign", Field: "identifier",
			Message: "the resource is not one of this connector",
		}
	}
	out := []agentid.Ref{resource}
	if len(ancestors) > 0 {
		out = append(out, account) // compile admits no other ancestor
	}
	return out, nil
}

// ForwardsHeader reports whether a request header travels upstream unchanged.
func (k *Kind) ForwardsHeader(name string) bool { return k.forward[http.CanonicalHeaderKey(name)] }

// RefusesHeader reports whether a request with this header is refused.
func (k *Kind) RefusesHeader(name string) bool { return k.refuse[http.CanonicalHeaderKey(name)] }

// RespondsHeader reports whether a response header reaches the agent.
func (k *Kind) RespondsHeader(name string) bool { return k.respond[http.CanonicalHeaderKey(name)] }

// RejectedBy reports whether an upstream status speaks of the connector's credential.
func (c Credential) RejectedBy(status int) bool { return slices.Contains(c.Rejected, status) }

// Match finds the operation of a method and of the decoded segments of a path, with
// the path's inputs. No match is KindForbidden "operation_unmatched".
func (k *Kind) Match(method string, segments []string) (*Operation, map[string]string, error) {
	for _, o := range k.routes {
		if o.Method != method {
			continue
		}
		if params, ok := o.path.match(segments); ok {
			return o, params, nil
		}
	}
	return nil, nil, agentid.Errorf(agentid.KindForbidden, "operation_unmatched", "no operation of this connector has this method and path")
}

// Inputs names what a constraint may bound: the declared inputs and what lookups
// derive, sorted.
func (o *Operation) Inputs() []string {
	names := slices.Collect(maps.Keys(o.inputs))
	names = append(names, slices.Collect(maps.Keys(o.derived))...)
	slices.Sort(names)
	return names
}

// Facts names the live values that a constraint may compare with, sorted.
func (o *Operation) Facts() []string { return slices.Sorted(slices.Values(o.facts)) }

// Constrained is what CheckConstraints needs of capability.Constraints.
type Constrained interface {
	Fields() []string    // inputs that are bounded
	Facts() []string     // facts that are compared with
	Uses() (int64, bool) // count of uses, and whether it is limited
}

// CheckConstraints refuses, with KindInvalid "constraint_unsupported" and the field,
// a constraint that this operation cannot hold: on an input that it does not have, on
// a fact that it does not read, or a count of uses on a read, which reserves nothing.
func (o *Operation) CheckConstraints(c Constrained) error {
	for _, field := range c.Fields() {
		_, declared := o.inputs[field]
		_, derived := o.derived[field]
		if !declared && !derived && !ambient[field] {
			return o.unsupported(field, "the operation has no such input")
		}
	}
	for _, fact := range c.Facts() {
		if !slices.Contains(o.facts, fact) {
			return o.unsupported(fact, "the operation has no such fact")
		}
	}
	if _, limited := c.Uses(); limited && !o.Effect.Changes() {
		return o.unsupported("uses", "a read is not counted")
	}
	return nil
}

// ambient are the inputs that every request has.
var ambient = map[string]bool{"time": true, "client_ip": true, "uses": true}

func (o *Operation) unsupported(field, why string) error {
	return &agentid.Error{
		Kind: agentid.KindInvalid, Reason: "constraint_unsupported", Field: "constraints." + field,
		Message: o.Name + ": " + why,
	}
}
