package paysim

import (
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
)

// Config says how a Simulator runs.
type Config struct {
	Key agentid.Secret   // the one secret key that it accepts; required
	Now func() time.Time // nil: time.Now

	// Before, when set, is called with each authenticated request before it is
	// carried out. It may block, to make the upstream slow.
	Before func(*http.Request)
	// After, when set, is called once the answer is decided and stored, before it
	// is sent. It may block, or panic with http.ErrAbortHandler to lose the answer.
	After func(*http.Request)
}

// Charge is one payment to seed. Amounts are in minor units.
type Charge struct {
	ID            string // "ch_1"
	Customer      string // "cus_1", must have been added
	PaymentIntent string // "pi_1"; empty: the charge has none
	Currency      string // ISO 4217, lower case
	Amount        int64
	Refunded      int64 // refunded before the simulator started; no Refund stands for it
	Created       time.Time
}

// Refund is one refund that took effect.
type Refund struct {
	ID             string
	Charge         string
	Amount         int64
	Currency       string
	Reason         string
	IdempotencyKey string // as received; empty when the request had none
	Created        time.Time
	Metadata       map[string]string
}

// Customer is one customer to seed.
type Customer struct {
	ID, Name, Email string
}

// Subscription is one subscription to seed.
type Subscription struct {
	ID, Customer string
	Metadata     map[string]string
}

// Simulator is the payments API. It is an http.Handler and safe for concurrent use.
type Simulator struct {
	key    agentid.Secret
	now    func() time.Time
	before func(*http.Request)
	after  func(*http.Request)
	mux    *http.ServeMux

	mu            sync.Mutex
	sequence      int
	customers     map[string]Customer
	charges       map[string]*Charge
	intents       map[string]string // payment intent → charge
	subscriptions map[string]*Subscription
	refunds       []Refund
	replays       map[string]*replay
	requests      int
	changes       int // updates of subscriptions and customers that took effect
}

// New makes an empty Simulator. A config without a key is refused.
func New(cfg Config) (*Simulator, error) {
	if cfg.Key.IsZero() {
		return nil, agentid.Invalidf("key", "the simulator needs a secret key")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Simulator{
		key: cfg.Key, now: cfg.Now, before: cfg.Before, after: cfg.After,
		customers:     map[string]Customer{},
		charges:       map[string]*Charge{},
		intents:       map[string]string{},
		subscriptions: map[string]*Subscription{},
		replays:       map[string]*replay{},
	}
	s.mux = s.routes()
	return s, nil
}

// AddCustomer seeds a customer. An id that exists is refused.
func (s *Simulator) AddCustomer(c Customer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.customers[c.ID]; exists || c.ID == "" {
		return agentid.Invalidf("customer.id", "is empty or exists already")
	}
	s.customers[c.ID] = c
	return nil
}

// AddCharge seeds a succeeded charge of a known customer.
func (s *Simulator) AddCharge(c Charge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addCharge(c)
}

func (s *Simulator) addCharge(c Charge) error {
	if _, exists := s.charges[c.ID]; exists || c.ID == "" {
		return agentid.Invalidf("charge.id", "is empty or exists already")
	}
	if _, known := s.customers[c.Customer]; !known {
		return agentid.Invalidf("charge.customer", "is unknown")
	}
	if c.Amount <= 0 || c.Refunded < 0 || c.Refunded > c.Amount {
		return agentid.Invalidf("charge.amount", "must be positive and cover what is refunded")
	}
	if len(c.Currency) != 3 {
		return agentid.Invalidf("charge.currency", "must be an ISO 4217 code in lower case")
	}
	if c.Created.IsZero() {
		c.Created = s.now()
	}
	s.charges[c.ID] = &c
	if c.PaymentIntent != "" {
		s.intents[c.PaymentIntent] = c.ID
	}
	return nil
}

// AddSubscription seeds an active subscription of a known customer.
func (s *Simulator) AddSubscription(sub Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.subscriptions[sub.ID]; exists || sub.ID == "" {
		return agentid.Invalidf("subscription.id", "is empty or exists already")
	}
	if _, known := s.customers[sub.Customer]; !known {
		return agentid.Invalidf("subscription.customer", "is unknown")
	}
	if sub.Metadata == nil {
		sub.Metadata = map[string]string{}
	}
	s.subscriptions[sub.ID] = &sub
	return nil
}

// Refunds lists the refunds that took effect, oldest first. A replayed answer adds none.
func (s *Simulator) Refunds() []Refund {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Refund(nil), s.refunds...)
}

// Refunded is the sum that is refunded of a charge, in minor units.
func (s *Simulator) Refunded(charge string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.charges[charge]; ok {
		return c.Refunded
	}
	return 0
}

// Requests counts the requests that arrived with the right key, refused ones included.
func (s *Simulator) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Changes counts the updates of customers and subscriptions that took effect.
func (s *Simulator) Changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// next gives a fresh id such as "re_sim_000001". The caller holds mu.
func (s *Simulator) next(prefix string) string {
	s.sequence++
	return fmt.Sprintf("%s_sim_%06d", prefix, s.sequence)
}

// chargesOf lists charges, newest first as Stripe does. The caller holds mu.
func (s *Simulator) chargesOf(keep func(*Charge) bool) []*Charge {
	var out []*Charge
	for _, c := range s.charges {
		if keep(c) {
			out = append(out, c)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].Created.Equal(out[j].Created) {
			return out[i].Created.After(out[j].Created)
		}
		return out[i].ID > out[j].ID
	})
	return out
}
