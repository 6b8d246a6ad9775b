package paysim

import (
	"net/http"
	"strconv"
)

const (
	defaultPage = 10
	maxPage     = 100
)

func customerObject(c Customer) map[string]any {
	return map[string]any{
		"id": c.ID, "object": "customer", "name": c.Name, "email": c.Email, "livemode": false, "metadata": map[string]string{},
	}
}

func subscriptionObject(sub *Subscription, status string) map[string]any {
	return map[string]any{
		"id": sub.ID, "object": "subscription", "customer": sub.Customer, "status": status, "livemode": false, "metadata": sub.Metadata,
	}
}

// chargeObject renders a charge; "customer" and "payment_intent" are ids unless
// expanded. The caller holds mu.
func (s *Simulator) chargeObject(c *Charge, expand map[string]bool) map[string]any {
	var intent any
	if c.PaymentIntent != "" {
		intent = c.PaymentIntent
		if expand["payment_intent"] {
			intent = s.intentObject(c, nil)
		}
	}
	var customer any = c.Customer
	if expand["customer"] {
		customer = customerObject(s.customers[c.Customer])
	}
	out := map[string]any{
		"id": c.ID, "object": "charge", "amount": c.Amount, "amount_captured": c.Amount, "amount_refunded": c.Refunded,
		"captured": true, "created": c.Created.Unix(), "currency": c.Currency, "customer": customer, "disputed": false,
		"livemode": false, "metadata": map[string]string{}, "paid": true, "payment_intent": intent,
		"refunded": c.Refunded == c.Amount, "status": "succeeded",
	}
	if expand["refunds"] {
		data := []map[string]any{}
		for _, r := range s.refunds {
			if r.Charge == c.ID {
				data = append(data, s.refundObject(r, nil))
			}
		}
		out["refunds"] = map[string]any{"object": "list", "data": data, "has_more": false, "url": "/v1/charges/" + c.ID + "/refunds"}
	}
	return out
}

// intentObject renders the payment intent of a charge. The caller holds mu.
func (s *Simulator) intentObject(c *Charge, expand map[string]bool) map[string]any {
	var latest any = c.ID
	if expand["latest_charge"] {
		latest = s.chargeObject(c, nil)
	}
	var customer any = c.Customer
	if expand["customer"] {
		customer = customerObject(s.customers[c.Customer])
	}
	return map[string]any{
		"id": c.PaymentIntent, "object": "payment_intent", "amount": c.Amount, "amount_received": c.Amount,
		"created": c.Created.Unix(), "currency": c.Currency, "customer": customer, "latest_charge": latest,
		"livemode": false, "metadata": map[string]string{}, "status": "succeeded",
	}
}

// refundObject renders a refund. The caller holds mu.
func (s *Simulator) refundObject(r Refund, expand map[string]bool) map[string]any {
	parent := s.charges[r.Charge]
	var charge any = r.Charge
	if expand["charge"] {
		charge = s.chargeObject(parent, nil)
	}
	var reason, intent any
	if r.Reason != "" {
		reason = r.Reason
	}
	if parent.PaymentIntent != "" {
		intent = parent.PaymentIntent
	}
	return map[string]any{
		"id": r.ID, "object": "refund", "amount": r.Amount, "charge": charge, "created": r.Created.Unix(),
		"currency": r.Currency, "metadata": r.Metadata, "payment_intent": intent, "reason": reason, "status": "succeeded",
	}
}

// page cuts a list by limit and starting_after.
func page(c call, all []map[string]any) answer {
	limit := defaultPage
	if text := c.params.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return refuse(http.StatusBadRequest, fault{Code: "parameter_invalid_integer", Param: "limit", Message: "Invalid integer: limit must be between 1 and 100"})
		}
		limit = n
	}
	if after := c.params.Get("starting_after"); after != "" {
		for i, object := range all {
			if object["id"] == after {
				all = all[i+1:]
				break
			}
		}
	}
	more := len(all) > limit
	if more {
		all = all[:limit]
	}
	if all == nil {
		all = []map[string]any{}
	}
	return answer{http.StatusOK, map[string]any{"object": "list", "url": c.path, "has_more": more, "data": all}}
}
