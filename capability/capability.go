package capability

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Capability is one grant: operations on one resource, within constraints. Its
// JSON form is an authorization_details entry (RFC 9396):
//
//	{"type":"agentid_capability", "identifier":"payments_customer:acme/cus_123",
//	 "actions":["payments:refund"], "constraints":{"amount":{"max":4200,"currency":"usd"}}}
type Capability struct {
	Resource    agentid.Ref
	Operations  []string
	Constraints Constraints
}

// Ancestry gives a resource and then those resources that it belongs to (a
// customer, then its account). A nil Ancestry knows the resource only. An error
// refuses.
type Ancestry func(resource agentid.Ref) ([]agentid.Ref, error)

func (a Ancestry) covers(parent, child agentid.Ref) (bool, error) {
	if parent == child {
		return true, nil
	}
	if a == nil {
		return false, nil
	}
	line, err := a(child)
	if err != nil {
		return false, fmt.Errorf("capability: ancestors of %s: %w", child, err)
	}
	return slices.Contains(line, parent), nil
}

// Validate refuses a capability without a resource or operations, and names that
// no parser would accept: KindInvalid, reason invalid_authorization_details.
func (c Capability) Validate() error {
	if c.Resource.IsZero() || c.Resource.Name() == "" {
		return detailError("identifier", "is missing")
	}
	if len(c.Operations) == 0 || len(c.Operations) > MaxOperations {
		return detailError("actions", "want 1 to %d operations", MaxOperations)
	}
	for i, op := range c.Operations {
		if !isOperation(op) {
			return detailError(fmt.Sprintf("actions[%d]", i), "want an operation such as payments:refund")
		}
		if slices.Index(c.Operations, op) != i {
			return detailError(fmt.Sprintf("actions[%d]", i), "is given twice")
		}
	}
	return nil
}

// Permits reports whether c names operation and exactly this resource. It says
// nothing of the constraints; see Constraints.Check.
func (c Capability) Permits(operation string, resource agentid.Ref) bool {
	return !resource.IsZero() && c.Resource == resource && slices.Contains(c.Operations, operation)
}

// Within reports, as nil, that c allows nothing that parent does not: the same
// resource, no other operations, constraints within. Else KindForbidden, reason
// capability_exceeds_parent, the field named.
func (c Capability) Within(parent Capability) error { return c.within(parent, nil) }

func (c Capability) within(parent Capability, ancestry Ancestry) error {
	covered, err := ancestry.covers(parent.Resource, c.Resource)
	if err != nil {
		return err
	}
	if !covered || c.Resource.IsZero() {
		return exceeds("identifier", "%s is not within its parent's %s", c.Resource, parent.Resource)
	}
	if len(c.Operations) == 0 {
		return exceeds("actions", "names no operation")
	}
	for _, op := range c.Operations {
		if !slices.Contains(parent.Operations, op) {
			return exceeds("actions", "%s is not among its parent's operations, %s", printableOperation(op), Scope([]Capability{parent}))
		}
	}
	return c.Constraints.Within(parent.Constraints)
}

// Within reports, as nil, that every child is within one of parents. The field of
// an error begins with the child's place: "authorization_details[0].constraints…".
func Within(children, parents []Capability, ancestry Ancestry) error {
	for i, child := range children {
		err := error(exceeds("identifier", "%s is not within its parent's %s", child.Resource, resourcesOf(parents)))
		for _, parent := range parents {
			found := child.within(parent, ancestry)
			if found == nil {
				err = nil
				break
			}
			if nearer(child, parent) {
				err = found
			}
		}
		if err != nil {
			return at(i, err)
		}
	}
	return nil
}

// resourcesOf names what the parents are for, in a message.
func resourcesOf(parents []Capability) string {
	const most = 4
	var out []string
	for _, p := range parents {
		if name := p.Resource.String(); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if len(out) > most {
		out = append(out[:most], "…")
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

// nearer picks the parent whose refusal tells the caller most.
func nearer(child, parent Capability) bool {
	return parent.Resource == child.Resource || slices.ContainsFunc(child.Operations, func(op string) bool { return slices.Contains(parent.Operations, op) })
}

// at puts the place of a capability in front of an error's field.
func at(i int, err error) error {
	var e *agentid.Error
	if !errors.As(err, &e) {
		return err
	}
	return e.WithField(fmt.Sprintf("authorization_details[%d].%s", i, e.Field))
}

func printableOperation(op string) string {
	if isOperation(op) {
		return op
	}
	return "an operation"
}

// Scope is the OAuth scope that goes with capabilities: their operations, sorted,
// each once, joined by spaces (RFC 6749 section 3.3).
func Scope(capabilities []Capability) string {
	var ops []string
	for _, c := range capabilities {
		ops = append(ops, c.Operations...)
	}
	slices.Sort(ops)
	return strings.Join(slices.Compact(ops), " ")
}

type wireCapability struct {
	Type        string      `json:"type"`
	Identifier  agentid.Ref `json:"identifier"`
	Actions     []string    `json:"actions"`
	Constraints Constraints `json:"constraints,omitzero"`
}

// MarshalJSON writes the canonical form: operations sorted.
func (c Capability) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireCapability{DetailType, c.Resource, slices.Sorted(slices.Values(c.Operations)), c.Constraints})
}

// UnmarshalJSON reads one entry as strictly as ParseRequest does.
func (c *Capability) UnmarshalJSON(data []byte) error {
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxRequestBytes, Depth: 6})
	if err != nil {
		return detailError("authorization_details", "is not strict JSON").WithCause(err)
	}
	parsed, err := capabilityFrom(v, "authorization_details")
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Digest is the SHA-256 of the canonical form, in base64url.
func (c Capability) Digest() string { return digestOf(c) }
