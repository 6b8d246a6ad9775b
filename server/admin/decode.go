package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

const maxObject = 64 << 10

// decode reads one JSON object strictly into v: no unknown field, no name twice, no
// wrong type. Errors name the field.
func decode(raw []byte, v any) error {
	tree, err := strictjson.Parse(raw, strictjson.Limits{Bytes: maxObject})
	if err != nil {
		return agentid.Invalidf("", "is not strict JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if tree.Kind() != strictjson.Object {
		return agentid.Invalidf("", "want an object, have %s", tree.Kind())
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return decodeError(err)
	}
	return exactNames(tree)
}

// exactNames refuses a name that Go's decoder took for a field in another letter case:
// every field of ours is in lower case.
func exactNames(tree strictjson.Value) error {
	members, _ := tree.Members()
	for _, m := range members {
		if m.Name != strings.ToLower(m.Name) {
			return agentid.Invalidf(m.Name, "is not a known field")
		}
	}
	return nil
}

func decodeError(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return agentid.Invalidf(t.Field, "has the wrong type: %s", t.Value)
	}
	if name, ok := strings.CutPrefix(err.Error(), `json: unknown field "`); ok {
		return agentid.Invalidf(strings.TrimSuffix(name, `"`), "is not a known field")
	}
	if e, ok := errors.AsType[*agentid.Error](err); ok {
		return e
	}
	return agentid.Invalidf("", "cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// decodeObject reads an object of any kind, by its member "kind".
func decodeObject(raw []byte) (object, error) {
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, agentid.Invalidf("", "is not a JSON object with a kind")
	}
	o := newObject(head.Kind)
	if o == nil {
		return nil, agentid.Invalidf("kind", "want tenant, principal, connector, agent_type, template, grant, agent, identity_provider, login_client, workload_issuer or enrolment_rule")
	}
	if err := decode(raw, o); err != nil {
		return nil, err
	}
	return o, nil
}
