package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// Problem is an error on the wire. It keeps the kind by name, the reason, the field and
// the message; the cause stays in the log of the side that has it.
type Problem struct {
	Kind       string `json:"kind"`
	Reason     string `json:"reason"`
	Field      string `json:"field,omitempty"`
	Message    string `json:"message,omitempty"`
	RetryAfter int64  `json:"retry_after,omitempty"` // milliseconds
}

// ProblemOf writes an error down. An internal error keeps its reason and nothing else.
func ProblemOf(err error) Problem {
	e := agentid.AsError(err)
	p := Problem{Kind: e.Kind.String(), Reason: e.Reason, Field: e.Field, Message: e.Message}
	if e.Kind == agentid.KindInternal {
		p.Field, p.Message = "", "internal error"
	}
	p.RetryAfter = httperr.Of(err).RetryAfter.Milliseconds()
	return p
}

// Err is the error that was written down.
func (p Problem) Err() error {
	err := &agentid.Error{Kind: agentid.ParseKind(p.Kind), Reason: p.Reason, Field: p.Field, Message: p.Message}
	if p.Reason == "" {
		err.Kind, err.Reason = agentid.KindInternal, "internal"
	}
	if p.RetryAfter > 0 {
		return httperr.WithRetryAfter(err, time.Duration(p.RetryAfter)*time.Millisecond)
	}
	return err
}

// Decode reads one JSON object strictly into v: no unknown field, no name twice or in
// another letter case, nothing after it, no invalid UTF-8. The error names the field.
func Decode(data []byte, limit int, v any) error {
	tree, err := strictjson.Parse(data, strictjson.Limits{Bytes: limit, Values: limit / 4})
	if err != nil {
		return agentid.Invalidf("", "is not strict JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if tree.Kind() != strictjson.Object {
		return agentid.Invalidf("", "want an object, have %s", tree.Kind())
	}
	if r, ok := v.(reads); ok {
		return r.read(tree)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return agentid.Invalidf("", "cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
