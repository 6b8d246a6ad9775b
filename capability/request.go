package capability

import (
	"errors"
	"fmt"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Request is a parsed authorization_details parameter.
type Request struct {
	Capabilities []Capability
	Templates    []TemplateCall
}

// TemplateCall asks for a named template of the agent's type:
//
//	{"type":"agentid_template", "template":"refund-customer",
//	 "arguments":{"customer":"cus_123","max_amount":4200}}
//
// An argument is a string or an int64.
type TemplateCall struct {
	Template  string
	Arguments map[string]any
}

// ParseRequest reads an authorization_details parameter (RFC 9396 section 2): a
// JSON array of 1 to MaxCapabilities entries of our two types. Anything unknown,
// missing, given twice or of a wrong type is refused: KindInvalid, reason
// invalid_authorization_details, with a field such as
// "authorization_details[0].constraints.amount.max".
func ParseRequest(raw []byte) (Request, error) {
	const path = "authorization_details"
	v, err := strictjson.Parse(raw, strictjson.Limits{Bytes: maxRequestBytes, Depth: 6})
	if err != nil {
		return Request{}, detailError(path, "%s", err.Error()).WithCause(err)
	}
	items, ok := v.Items()
	if !ok || len(items) == 0 || len(items) > MaxCapabilities {
		return Request{}, detailError(path, "want an array of 1 to %d entries", MaxCapabilities)
	}
	var r Request
	for i, item := range items {
		if err := r.add(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return Request{}, err
		}
	}
	return r, nil
}

func (r *Request) add(v strictjson.Value, path string) error {
	if v.Kind() != strictjson.Object {
		return detailError(path, "want an object, have %s", v.Kind())
	}
	typ, _ := v.Get("type").Text()
	switch typ {
	case DetailType:
		c, err := capabilityFrom(v, path)
		if err != nil {
			return err
		}
		r.Capabilities = append(r.Capabilities, c)
	case TemplateType:
		call, err := templateCallFrom(v, path)
		if err != nil {
			return err
		}
		r.Templates = append(r.Templates, call)
	default:
		return detailError(path+".type", "want %q or %q", DetailType, TemplateType)
	}
	return nil
}

// capabilitiesFrom reads the authorization_details claim of a token, which holds no
// template calls.
func capabilitiesFrom(v strictjson.Value) ([]Capability, error) {
	items, ok := v.Items()
	if !ok || len(items) == 0 || len(items) > MaxCapabilities {
		return nil, detailError("authorization_details", "want an array of 1 to %d entries", MaxCapabilities)
	}
	out := make([]Capability, len(items))
	for i, item := range items {
		c, err := capabilityFrom(item, fmt.Sprintf("authorization_details[%d]", i))
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
}

func capabilityFrom(v strictjson.Value, path string) (Capability, error) {
	var c Capability
	if err := onlyMembers(v, path, "type", "identifier", "actions", "constraints"); err != nil {
		return c, err
	}
	if typ, _ := v.Get("type").Text(); typ != DetailType {
		return c, detailError(path+".type", "want %q", DetailType)
	}
	identifier, _ := v.Get("identifier").Text()
	ref, err := agentid.ParseRef(identifier)
	if err != nil {
		return c, detailError(path+".identifier", "want a resource such as payments_customer:acme/cus_123").WithCause(err)
	}
	c.Resource = ref
	items, ok := v.Get("actions").Items()
	if !ok {
		return c, detailError(path+".actions", "want an array of operations")
	}
	if len(items) > MaxOperations {
		return c, detailError(path+".actions", "holds more than %d operations", MaxOperations)
	}
	for i, item := range items {
		op, ok := item.Text()
		if !ok {
			return c, detailError(fmt.Sprintf("%s.actions[%d]", path, i), "want a string, have %s", item.Kind())
		}
		c.Operations = append(c.Operations, op)
	}
	if err := c.Validate(); err != nil {
		var e *agentid.Error
		if errors.As(err, &e) {
			return c, e.WithField(path + "." + e.Field)
		}
		return c, err
	}
	slices.Sort(c.Operations)
	if constraints := v.Get("constraints"); constraints.Kind() != strictjson.Invalid {
		c.Constraints, err = constraintsFrom(constraints, path+".constraints")
	}
	return c, err
}

func templateCallFrom(v strictjson.Value, path string) (TemplateCall, error) {
	if err := onlyMembers(v, path, "type", "template", "arguments"); err != nil {
		return TemplateCall{}, err
	}
	call := TemplateCall{Arguments: map[string]any{}}
	call.Template, _ = v.Get("template").Text()
	if !isTemplateName(call.Template) {
		return TemplateCall{}, detailError(path+".template", "want the name of a template")
	}
	arguments := v.Get("arguments")
	if arguments.Kind() == strictjson.Invalid {
		return call, nil
	}
	members, ok := arguments.Members()
	if !ok || len(members) > MaxFields {
		return TemplateCall{}, detailError(path+".arguments", "want an object of at most %d arguments", MaxFields)
	}
	for _, m := range members {
		at := path + ".arguments." + printable(m.Name)
		if !isName(m.Name) {
			return TemplateCall{}, detailError(at, "is not the name of an argument")
		}
		value, err := parseScalar(m.Value, at)
		if err != nil {
			return TemplateCall{}, err
		}
		call.Arguments[m.Name] = value.wire()
	}
	return call, nil
}

// onlyMembers refuses members beyond names.
func onlyMembers(v strictjson.Value, path string, names ...string) error {
	members, ok := v.Members()
	if !ok {
		return detailError(path, "want an object, have %s", v.Kind())
	}
	for _, m := range members {
		if !slices.Contains(names, m.Name) {
			return detailError(path+"."+printable(m.Name), "is not a member of this type")
		}
	}
	return nil
}
