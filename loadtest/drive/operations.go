package drive

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/agentid-dev/agentid/loadtest/local"
	"github.com/agentid-dev/agentid/loadtest/openloop"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// maxAmount is what the local world's tokens and policy let an agent refund, in cents.
const maxAmount = 1_000_000

// do carries out one operation and holds the answer against what it must be.
func (c *Caller) do(ctx context.Context, op string, sequence int64) openloop.Outcome {
	switch op {
	case scenario.OpMint:
		if _, err := c.source.Fresh(ctx); err != nil {
			return failed(op, err)
		}
		return openloop.Outcome{Op: op, Class: "ok", OK: true}
	case scenario.OpRevoke:
		return c.revoke(ctx)
	}
	token, err := c.token(ctx)
	if err != nil {
		return failed(op, err)
	}
	s, want := sending{method: http.MethodGet, path: c.Read}, http.StatusOK
	switch op {
	case scenario.OpIntrospect:
		return c.introspect(ctx)
	case scenario.OpDenied:
		s.path, want = c.Denied, http.StatusForbidden
	case scenario.OpPreview:
		s = c.preview(sequence)
	case scenario.OpRefund:
		s = c.refund(sequence)
	}
	status, reason, err := c.send(ctx, s, token)
	if err != nil {
		return failed(op, err)
	}
	return judged(op, status, want, reason)
}

// preview is a read with an amount that nobody has asked for before.
func (c *Caller) preview(sequence int64) sending {
	return sending{
		method: http.MethodPost, path: "/v1/invoices/create_preview",
		form: local.PreviewForm(c.Customer, sequence),
	}
}

// refund is of an amount that differs from request to request.
func (c *Caller) refund(sequence int64) sending {
	amount := 1 + sequence%maxAmount
	return sending{
		method: http.MethodPost, path: "/v1/refunds", key: c.Charge + "-" + strconv.FormatInt(sequence, 10),
		form: "charge=" + c.Charge + "&amount=" + strconv.FormatInt(amount, 10),
	}
}

func judged(op string, status, want int, reason string) openloop.Outcome {
	class := "ok"
	if status >= http.StatusBadRequest {
		class = strconv.Itoa(status) + " " + reason
	}
	if want >= http.StatusBadRequest && status < http.StatusBadRequest {
		class = "allowed and must not be"
	}
	return openloop.Outcome{Op: op, Class: class, OK: status == want}
}

func (c *Caller) introspect(ctx context.Context) openloop.Outcome {
	const op = scenario.OpIntrospect
	token, err := c.source.Token(ctx)
	if err != nil {
		return failed(op, err)
	}
	answer, err := c.Service.Introspect(ctx, token.Access)
	if err != nil {
		return failed(op, err)
	}
	var said struct {
		Active bool `json:"active"`
	}
	if json.Unmarshal(answer, &said) != nil || !said.Active {
		return openloop.Outcome{Op: op, Class: "inactive"}
	}
	return openloop.Outcome{Op: op, Class: "ok", OK: true}
}

// revoke takes a token through its life: it works, it is revoked, and from the moment
// that the call returned it works no more.
func (c *Caller) revoke(ctx context.Context) openloop.Outcome {
	const op = scenario.OpRevoke
	token, err := c.source.Fresh(ctx)
	if err != nil {
		return failed(op, err)
	}
	read := sending{method: http.MethodGet, path: c.Read}
	status, reason, err := c.send(ctx, read, token)
	if err != nil || status != http.StatusOK {
		if err != nil {
			return failed(op, err)
		}
		return judged(op, status, http.StatusOK, reason)
	}
	if err := c.Agent.Revoke(ctx, token.Access); err != nil {
		return failed(op, err)
	}
	status, reason, err = c.send(ctx, read, token)
	switch {
	case err != nil:
		return failed(op, err)
	case status == http.StatusOK:
		return openloop.Outcome{Op: op, Class: "allowed after its revocation returned"}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return openloop.Outcome{Op: op, Class: "ok", OK: true}
	default:
		return openloop.Outcome{Op: op, Class: strconv.Itoa(status) + " " + reason}
	}
}
