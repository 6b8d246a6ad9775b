package paysim

import (
	"net/http"
	"strconv"
	"strings"
)

// createRefund refunds a part or all of a charge, named directly or by its payment
// intent. Without an amount it refunds what is left.
func (s *Simulator) createRefund(c call) answer {
	for name, values := range c.params {
		if len(values) > 1 && !strings.HasSuffix(name, "[]") {
			return refuse(http.StatusBadRequest, fault{Code: "parameter_invalid_string_blank", Param: name, Message: "Parameter given more than once: " + name})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	charge, bad := s.refundTarget(c)
	if bad != nil {
		return *bad
	}
	left := charge.Amount - charge.Refunded
	if left == 0 {
		return refuse(http.StatusBadRequest, fault{
			Code: "charge_already_refunded", Charge: charge.ID, Message: "Charge " + charge.ID + " has already been refunded.",
		})
	}
	amount := left
	if text := c.params.Get("amount"); text != "" {
		parsed, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return refuse(http.StatusBadRequest, fault{Code: "parameter_invalid_integer", Param: "amount", Message: "Invalid integer: " + text})
		}
		if parsed < 1 {
			return refuse(http.StatusBadRequest, fault{Code: "parameter_invalid_integer", Param: "amount", Message: "Invalid positive integer"})
		}
		amount = parsed
	}
	if amount > left {
		return refuse(http.StatusBadRequest, fault{
			Code: "amount_too_large", Param: "amount", Charge: charge.ID,
			Message: "Refund amount (" + decimal(amount) + ") is greater than unrefunded amount on charge (" + decimal(left) + ")",
		})
	}
	reason := c.params.Get("reason")
	switch reason {
	case "", "duplicate", "fraudulent", "requested_by_customer":
	default:
		return refuse(http.StatusBadRequest, fault{Param: "reason", Message: "Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer"})
	}
	charge.Refunded += amount
	refund := Refund{
		ID: s.next("re"), Charge: charge.ID, Amount: amount, Currency: charge.Currency, Reason: reason,
		IdempotencyKey: c.key, Created: s.now(), Metadata: metadata(c.params),
	}
	s.refunds = append(s.refunds, refund)
	return answer{http.StatusOK, s.refundObject(refund, expansions(c.params))}
}

// refundTarget finds the charge of a refund request. The caller holds mu.
func (s *Simulator) refundTarget(c call) (*Charge, *answer) {
	id, intent := c.params.Get("charge"), c.params.Get("payment_intent")
	fail := func(a answer) (*Charge, *answer) { return nil, &a }
	switch {
	case id == "" && intent == "":
		return fail(refuse(http.StatusBadRequest, fault{Code: "parameter_missing", Message: "One of the following params should be provided for this request: payment_intent or charge."}))
	case id != "" && intent != "":
		return fail(refuse(http.StatusBadRequest, fault{Message: "You may only specify one of these parameters: payment_intent, charge."}))
	case intent != "":
		if id = s.intents[intent]; id == "" {
			return fail(refuse(http.StatusBadRequest, fault{Code: "resource_missing", Param: "payment_intent", Message: "No such payment_intent: '" + intent + "'"}))
		}
	}
	charge, ok := s.charges[id]
	if !ok {
		return fail(refuse(http.StatusBadRequest, fault{Code: "resource_missing", Param: "charge", Message: "No such charge: '" + id + "'"}))
	}
	return charge, nil
}

func (s *Simulator) getRefund(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.refunds {
		if r.ID == c.id {
			return answer{http.StatusOK, s.refundObject(r, expansions(c.params))}
		}
	}
	return missing("refund", c.id)
}

// listRefunds lists refunds, newest first, by the charge in the path or in the query.
func (s *Simulator) listRefunds(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	charge := c.id
	if charge == "" {
		charge = c.params.Get("charge")
	}
	if intent := c.params.Get("payment_intent"); intent != "" {
		charge = s.intents[intent]
	}
	if charge != "" && s.charges[charge] == nil {
		return missing("charge", charge)
	}
	var out []map[string]any
	for i := len(s.refunds) - 1; i >= 0; i-- {
		if r := s.refunds[i]; charge == "" || r.Charge == charge {
			out = append(out, s.refundObject(r, expansions(c.params)))
		}
	}
	return page(c, out)
}

// decimal writes minor units as Stripe's messages do: 4200 is "$42.00".
func decimal(minor int64) string {
	cents := minor % 100
	text := strconv.FormatInt(cents, 10)
	if cents < 10 {
		text = "0" + text
	}
	return "$" + strconv.FormatInt(minor/100, 10) + "." + text
}
