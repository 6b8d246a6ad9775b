package gateway

import (
	"context"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/match"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/policy"
)

// effective is what the request asks for, read as the upstream would. Only inputs
// makes one.
type effective struct {
	caller
	call      *connectors.Call
	key       string        // the client's idempotency key; empty on reads
	resources []agentid.Ref // the resource and its ancestors
	inputs    capability.Inputs
}

// inputs is phase 5: the declared inputs from path, query and bounded body, and what
// lookups on the upstream add. Lookups are made for a live agent only.
func (g *Gateway) inputs(x *exchange, a admitted, m match.Matched) (effective, error) {
	o := m.Operation()
	if !slices.ContainsFunc(a.claims.Capabilities, func(c capability.Capability) bool { return slices.Contains(c.Operations, o.Name) }) {
		return effective{}, forbidden("operation_not_permitted", "the token does not name this operation")
	}
	e := effective{caller: a.caller}
	var err error
	if e.key, err = idempotencyKey(x, o); err != nil {
		return effective{}, err
	}
	body, err := requestBody(x, o)
	if err != nil {
		return effective{}, err
	}
	if e.call, err = o.Parse(m.Params(), m.Query(), body); err != nil {
		return effective{}, err
	}
	x.record.InputsDigest = e.call.Digest()
	if err := g.lookUp(x, e); err != nil {
		return effective{}, err
	}
	resource, err := e.call.Resource(x.route.Ref.Tenant(), x.route.Ref.Name())
	if err != nil {
		return effective{}, err
	}
	x.record.Resource = resource.String()
	if e.resources, err = x.route.kind.Resources(x.route.Ref.Tenant(), x.route.Ref.Name(), resource); err != nil {
		return effective{}, err
	}
	e.inputs = capability.Inputs{"time": g.cfg.Now(), "client_ip": httpx.PeerIP(x.r)}
	for name, v := range e.call.Inputs() {
		if money, ok := v.(connectors.Money); ok {
			v = capability.Money(money)
		}
		e.inputs[name] = v
	}
	return e, nil
}

// idempotencyKey is required on effects: one header, printable, bounded.
func idempotencyKey(x *exchange, o *connectors.Operation) (string, error) {
	k := x.route.kind
	values := x.r.Header[k.IdempotencyHeader]
	if !o.Effect.Changes() {
		return "", nil
	}
	invalid := func(reason, message string) error {
		return &agentid.Error{Kind: agentid.KindInvalid, Reason: reason, Field: k.IdempotencyHeader, Message: message}
	}
	switch {
	case len(values) == 0 || values[0] == "":
		return "", invalid("idempotency_key_missing", "is required, so that a retry is not a second effect")
	case len(values) > 1:
		return "", invalid("header_repeated", "is given more than once")
	case len(values[0]) > k.MaxKeyLength || slices.ContainsFunc([]byte(values[0]), func(c byte) bool { return c < 0x21 || c > 0x7e }):
		return "", invalid("parameter_invalid", "is too long, or holds other than printable ASCII characters")
	}
	return values[0], nil
}

func requestBody(x *exchange, o *connectors.Operation) (string, error) {
	if o.ContentType == "" {
		return "", nil
	}
	if err := httpx.CheckContentType(x.r, o.ContentType); err != nil {
		return "", err
	}
	body, err := httpx.ReadBody(x.w, x.r, x.route.kind.MaxBody)
	return string(body), err
}

// lookUp asks the upstream what the request does not say. An id that the upstream does
// not know and one of another customer are refused in the same words.
func (g *Gateway) lookUp(x *exchange, e effective) error {
	asked := false
	for _, l := range e.call.Lookups() {
		path, applies := e.call.LookupPath(l)
		if !applies {
			continue
		}
		if !asked {
			if err := g.live(x, e); err != nil {
				return err
			}
			asked = true
		}
		answer, found, err := g.forwarder.Ask(x.r.Context(), x.route.upstream, path)
		if err != nil {
			return err
		}
		if !found {
			return resourceNotPermitted()
		}
		err = e.call.Learn(l, answer)
		if agentid.KindOf(err) == agentid.KindNotFound {
			return resourceNotPermitted()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// live asks legs 0 and 1 before anything is done on behalf of the agent.
func (g *Gateway) live(x *exchange, e effective) error {
	_, err := g.cfg.Decider.Decide(x.r.Context(), policy.Question{Stage: policy.StageLive, Subject: e.subject, AtLeast: e.atLeast()})
	return err
}

// atLeast is the newer of the token's revision and the revocation floor. Revisions do
// not compare; epochs do: a token of the floor's epoch was decided at or after it.
func (c caller) atLeast() agentid.Zookie {
	if c.floor.Zookie == "" || c.claims.Context.Epoch >= c.floor.Epoch {
		return c.claims.Context.Zookie
	}
	return c.floor.Zookie
}

// decided is a call that the token's capability and the graph allow. Only decide makes
// one; grants holds at least one capability.
type decided struct {
	effective
	question policy.Question
	allowed  policy.Allowed
	grants   []int // those of the token's capabilities that permit it, in its order
}

// decide is phase 6: a capability of the token permits operation, resource and inputs,
// and the graph allows them now.
func (g *Gateway) decide(x *exchange, e effective) (decided, error) {
	o := e.call.Operation
	grants, err := permitting(e)
	if err != nil {
		return decided{}, err
	}
	d := decided{effective: e, grants: grants, question: policy.Question{
		Stage: policy.StageEnforce, Subject: e.subject, Operation: o.Name, Permission: o.Permission, Barred: o.Barred,
		Resources: e.resources, Account: x.route.account, Inputs: e.call.Context(), AtLeast: e.atLeast(),
	}}
	if d.allowed, err = g.ask(x.r.Context(), x, d.question); err != nil {
		return decided{}, err
	}
	x.record.Decision = auditlog.Allow
	x.note(e.claims.Capabilities[grants[0]])
	return d, nil
}

func (g *Gateway) ask(ctx context.Context, x *exchange, q policy.Question) (policy.Allowed, error) {
	if err := g.connectorTaken(x.route); err != nil {
		return policy.Allowed{}, err
	}
	allowed, err := g.cfg.Decider.Decide(ctx, q)
	if err != nil {
		return policy.Allowed{}, err
	}
	x.record.Zookie = allowed.Zookie()
	legs := allowed.Legs()
	x.record.Legs = slices.Grow(x.record.Legs[:0], len(legs))
	for _, l := range legs {
		x.record.Legs = append(x.record.Legs, auditlog.Leg(l))
	}
	return allowed, nil
}

// permitting are the places of the token's capabilities that name the operation on the resource or
// on an ancestor of it and whose constraints hold; if none does, the error is that of
// the first whose resource fits.
func permitting(e effective) ([]int, error) {
	o := e.call.Operation
	var grants []int
	var refusal error
	for i, c := range e.claims.Capabilities {
		if !slices.ContainsFunc(e.resources, func(r agentid.Ref) bool { return c.Permits(o.Name, r) }) {
			continue
		}
		err := enforceable(o, c)
		if err == nil {
			err = c.Constraints.Check(e.inputs)
		}
		if err == nil {
			grants = append(grants, i)
		} else if refusal == nil {
			refusal = err
		}
	}
	switch {
	case len(grants) > 0:
		return grants, nil
	case refusal != nil:
		return nil, refusal
	}
	return nil, resourceNotPermitted()
}

// enforceable refuses a capability with a limit that the operation cannot hold.
func enforceable(o *connectors.Operation, c capability.Capability) error {
	if err := o.CheckConstraints(c.Constraints); err != nil {
		e := *agentid.AsError(err)
		e.Kind = agentid.KindForbidden // the token is at fault, not the request
		return &e
	}
	return nil
}

// note records the constraints that the call has passed.
func (x *exchange) note(c capability.Capability) {
	terms := c.Constraints.Terms()
	x.record.Constraints = slices.Grow(x.record.Constraints[:0], len(terms))
	for _, t := range terms {
		x.record.Constraints = append(x.record.Constraints, auditlog.Outcome{Field: t.Field, Kind: t.Kind, Outcome: "ok"})
	}
}

func resourceNotPermitted() error {
	return forbidden("resource_not_permitted", "the token does not permit this operation on this resource")
}

func forbidden(reason, message string) error {
	return agentid.Errorf(agentid.KindForbidden, reason, "%s", message)
}
