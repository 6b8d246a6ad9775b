package paysim

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

func (s *Simulator) getCharge(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	charge, ok := s.charges[c.id]
	if !ok {
		return missing("charge", c.id)
	}
	return answer{http.StatusOK, s.chargeObject(charge, expansions(c.params))}
}

func (s *Simulator) listCharges(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	customer, intent := c.params.Get("customer"), c.params.Get("payment_intent")
	var out []map[string]any
	for _, charge := range s.chargesOf(func(ch *Charge) bool {
		return (customer == "" || ch.Customer == customer) && (intent == "" || ch.PaymentIntent == intent)
	}) {
		out = append(out, s.chargeObject(charge, expansions(c.params)))
	}
	return page(c, out)
}

func (s *Simulator) getIntent(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	charge, ok := s.charges[s.intents[c.id]]
	if !ok {
		return missing("payment_intent", c.id)
	}
	return answer{http.StatusOK, s.intentObject(charge, expansions(c.params))}
}

// previewInvoice answers what a customer would be billed for one item; it changes nothing.
func (s *Simulator) previewInvoice(c call) answer {
	const item = "invoice_items[0]"
	amount, err := strconv.ParseInt(c.params.Get(item+"[amount]"), 10, 64)
	if err != nil {
		return refuse(http.StatusBadRequest, fault{Code: "parameter_invalid_integer", Param: item + "[amount]", Message: "Invalid integer"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	customer, ok := s.customers[c.params.Get("customer")]
	if !ok {
		return missing("customer", c.params.Get("customer"))
	}
	return answer{http.StatusOK, map[string]any{
		"object": "invoice", "customer": customer.ID, "currency": c.params.Get(item + "[currency]"), "amount_due": amount, "total": amount,
		"status": "draft", "livemode": false,
	}}
}

// createIntent makes a confirmed payment intent with its succeeded charge.
func (s *Simulator) createIntent(c call) answer {
	amount, err := strconv.ParseInt(c.params.Get("amount"), 10, 64)
	if err != nil || amount < 1 {
		return refuse(http.StatusBadRequest, fault{Code: "parameter_invalid_integer", Param: "amount", Message: "Invalid positive integer"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	charge := Charge{
		ID: s.next("ch"), PaymentIntent: s.next("pi"), Customer: c.params.Get("customer"),
		Currency: strings.ToLower(c.params.Get("currency")), Amount: amount,
	}
	if err := s.addCharge(charge); err != nil {
		return refuse(http.StatusBadRequest, fault{Message: "The customer is unknown or the currency is invalid."})
	}
	return answer{http.StatusOK, s.intentObject(s.charges[charge.ID], expansions(c.params))}
}

func (s *Simulator) getCustomer(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	customer, ok := s.customers[c.id]
	if !ok {
		return missing("customer", c.id)
	}
	return answer{http.StatusOK, customerObject(customer)}
}

func (s *Simulator) createCustomer(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	customer := Customer{ID: s.next("cus"), Name: c.params.Get("name"), Email: c.params.Get("email")}
	s.customers[customer.ID] = customer
	return answer{http.StatusOK, customerObject(customer)}
}

func (s *Simulator) updateCustomer(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	customer, ok := s.customers[c.id]
	if !ok {
		return missing("customer", c.id)
	}
	if name := c.params.Get("name"); name != "" {
		customer.Name = name
	}
	if email := c.params.Get("email"); email != "" {
		customer.Email = email
	}
	s.customers[c.id] = customer
	s.changes++
	return answer{http.StatusOK, customerObject(customer)}
}

func (s *Simulator) getSubscription(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, ok := s.subscriptions[c.id]
	if !ok {
		return missing("subscription", c.id)
	}
	return answer{http.StatusOK, subscriptionObject(sub, "active")}
}

func (s *Simulator) updateSubscription(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, ok := s.subscriptions[c.id]
	if !ok {
		return missing("subscription", c.id)
	}
	for name, value := range metadata(c.params) {
		sub.Metadata[name] = value
	}
	s.changes++
	return answer{http.StatusOK, subscriptionObject(sub, "active")}
}

func (s *Simulator) cancelSubscription(c call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, ok := s.subscriptions[c.id]
	if !ok {
		return missing("subscription", c.id)
	}
	delete(s.subscriptions, c.id)
	s.changes++
	return answer{http.StatusOK, subscriptionObject(sub, "canceled")}
}

// metadata collects the bracketed form keys metadata[name].
func metadata(params url.Values) map[string]string {
	out := map[string]string{}
	for name, values := range params {
		inner, ok := strings.CutPrefix(name, "metadata[")
		if inner, closed := strings.CutSuffix(inner, "]"); ok && closed {
			out[inner] = values[0]
		}
	}
	return out
}

// expansions collects expand[] and expand[0]…
func expansions(params url.Values) map[string]bool {
	out := map[string]bool{}
	for name, values := range params {
		if strings.HasPrefix(name, "expand[") {
			for _, v := range values {
				out[strings.TrimPrefix(v, "data.")] = true
			}
		}
	}
	return out
}
