package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
)

// limit is what each token of the example is for, in cents.
const limit = 4200

// story is the steps, and what one leaves for the next.
type story struct {
	*world
	page  *page
	sdkA  *stripe.Client // with the first token, used up by the refund
	token client.Token
}

func (s *story) opening(context.Context) error {
	s.page.line("%s", s.page.paint(bold, "AgentID: one agent, one refund, enforced end to end"))
	if s.apart {
		s.page.note("The gateway runs apart from its broker: over mutual TLS it asks the broker's graph, has its\n" +
			"settings and the upstream's credential, reserves, and writes the audit.")
	}
	s.page.note("Running on loopback: the broker and gateway with their embedded graph and ledger, a\n" +
		"payments simulator in Stripe's wire format, and beside the agent its proxy.\n" +
		"The agent is Stripe's own Go SDK. Its base URL points at the proxy; nothing else differs.\n" +
		"It acts for alice, who lets agents of this type refund up to 100.00 USD.")
	return nil
}

func refundOf(charge string, amount int64, key string) *stripe.RefundCreateParams {
	p := &stripe.RefundCreateParams{Charge: stripe.String(charge), Amount: stripe.Int64(amount)}
	p.SetIdempotencyKey(key)
	return p
}

// refund mints a token for one refund of at most 42.00 and makes it.
func (s *story) refund(ctx context.Context) error {
	s.page.title("A token is minted, and a refund of 42.00 succeeds")
	var err error
	if s.sdkA, err = s.sdk(limit, func(t client.Token) { s.token = t }); err != nil {
		return err
	}
	refund, err := s.sdkA.V1Refunds.Create(ctx, refundOf(charge, 4200, "demo-1"))
	s.page.expect(err == nil, "refund of 42.00 USD on %s for %s: %s", charge, customer, outcome(refund, err))
	if err := s.showClaims(); err != nil {
		return err
	}
	s.page.expect(s.sim.Refunded(charge) == 4200, "the payments API shows 42.00 refunded, by its own key and not the agent's")
	return nil
}

func outcome(refund *stripe.Refund, err error) string {
	if err != nil {
		return err.Error()
	}
	return string(refund.Status) + ", " + refund.ID
}

// showClaims prints what a person wants to know of the token.
func (s *story) showClaims() error {
	parts := strings.Split(s.token.Access.Reveal(), ".")
	if len(parts) != 3 {
		s.page.expect(false, "the token is a JWT")
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(data, &claims); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	s.page.note("The token's claims:")
	for _, name := range []string{"iss", "aud", "sub", "act", "scope", "authorization_details", "cnf", "exp"} {
		s.page.note(fmt.Sprintf("  %-22s %s", name, claims[name]))
	}
	return nil
}

// denied makes a refund that must be refused, and compares the reason. Nothing may have
// reached the payments API.
func (s *story) denied(ctx context.Context, c *stripe.Client, what string, params *stripe.RefundCreateParams, reason string) {
	before := len(s.sim.Refunds())
	_, err := c.V1Refunds.Create(ctx, params)
	s.page.expect(reasonOf(err) == reason, "%s: refused, %s", what, explain(err))
	s.page.expect(len(s.sim.Refunds()) == before, "no money moved")
}

// reasonOf is the reason code in an SDK's error; "" when it is another error or none.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*stripe.Error](err); ok {
		return string(e.Code)
	}
	return ""
}

func explain(err error) string {
	if e, ok := errors.AsType[*stripe.Error](err); ok {
		return fmt.Sprintf("%d %s", e.HTTPStatusCode, e.Msg)
	}
	return fmt.Sprint("but: ", err)
}

func (s *story) again(ctx context.Context) error {
	s.page.title("The same token again: it is used up")
	s.denied(ctx, s.sdkA, "a second refund of 1.00", refundOf(charge, 100, "demo-2"), "uses_exhausted")
	return nil
}

// fresh is an SDK with a new token, for one refund of at most 42.00.
func (s *story) fresh() (*stripe.Client, error) {
	return s.sdk(limit, func(t client.Token) { s.token = t })
}

func (s *story) overLimit(ctx context.Context) error {
	s.page.title("A new token, and a refund over its limit")
	c, err := s.fresh()
	if err != nil {
		return err
	}
	s.denied(ctx, c, "42.01 with a token for 42.00", refundOf(charge, 4201, "demo-3"), "constraint_amount_max")
	return nil
}

func (s *story) overRefundable(ctx context.Context) error {
	s.page.title("More than the charge has left")
	s.page.note("50.00 were paid, 30.00 were given back before: the gateway asks the payments API what is left.")
	c, err := s.fresh()
	if err != nil {
		return err
	}
	s.denied(ctx, c, "a refund of 25.00 where 20.00 are left", refundOf(nearly, 2500, "demo-4"), "constraint_amount_at_most_fact")
	return nil
}

func (s *story) otherCustomer(ctx context.Context) error {
	s.page.title("Another customer's charge")
	c, err := s.fresh()
	if err != nil {
		return err
	}
	s.denied(ctx, c, "a refund to bob with a token for ada", refundOf(stranger, 100, "demo-5"), reasonOtherCustomer)
	return nil
}

func (s *story) subscription(ctx context.Context) error {
	s.page.title("Something that is no refund: modify a subscription")
	c, err := s.fresh()
	if err != nil {
		return err
	}
	before := s.sim.Changes()
	_, err = c.V1Subscriptions.Update(ctx, "sub_ada", &stripe.SubscriptionUpdateParams{Metadata: map[string]string{"plan": "gold"}})
	s.page.expect(reasonOf(err) == "operation_unmatched", "the subscription stays: refused, %s", explain(err))
	s.page.expect(s.sim.Changes() == before, "nothing changed")
	return nil
}

// stolen sends a good token without the agent's key, in three ways.
func (s *story) stolen(ctx context.Context) error {
	s.page.title("The token is stolen, and sent without the agent's key")
	c, err := s.fresh()
	if err != nil {
		return err
	}
	// A read-only request makes the proxy mint the token; it is refused, because the token is for a refund.
	_, _ = c.V1Charges.Retrieve(ctx, charge, nil)
	thief, err := client.GenerateKey("EdDSA")
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	impostor, err := client.New(client.Config{Issuer: s.admin.Base + "/acme", Agent: s.ref, Key: thief})
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	proof, err := impostor.Proof(http.MethodPost, s.resource+"/v1/refunds", s.token.Access, "")
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	before := len(s.sim.Refunds())
	for _, try := range []struct{ what, scheme, proof string }{
		{"as a Bearer token", "Bearer ", ""},
		{"without a proof", "DPoP ", ""},
		{"with a proof by another key", "DPoP ", proof},
	} {
		status, reason, err := s.raw(ctx, try.scheme+s.token.Access.Reveal(), try.proof)
		if err != nil {
			return err
		}
		s.page.expect(status == http.StatusUnauthorized, "%s: refused, %d %s", try.what, status, reason)
	}
	s.page.expect(len(s.sim.Refunds()) == before, "no money moved")
	return nil
}

// raw sends a refund past the proxy.
func (s *story) raw(ctx context.Context, authorization, proof string) (status int, reason string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.resource+"/v1/refunds", strings.NewReader("charge="+charge+"&amount=100"))
	if err != nil {
		return 0, "", fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Idempotency-Key", "stolen")
	req.Header.Set("Authorization", authorization)
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("request: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, "", fmt.Errorf("response: %w", err)
	}
	var answer struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &answer) // the status is what counts
	return resp.StatusCode, answer.Error.Code, nil
}

func (s *story) frozen(ctx context.Context) error {
	s.page.title("The agent is frozen: refused at the next request")
	c, err := s.fresh()
	if err != nil {
		return err
	}
	refund, err := c.V1Refunds.Create(ctx, refundOf(charge, 100, "demo-7"))
	s.page.expect(err == nil, "before, a refund of 1.00: %s", outcome(refund, err))
	c, err = s.fresh()
	if err != nil {
		return err
	}
	_, _ = c.V1Charges.Retrieve(ctx, charge, nil) // mints: the token is good, and unused
	var state struct {
		State string `json:"state"`
	}
	err = s.admin.Call(ctx, http.MethodPost, "/tenants/acme/agents/"+agentName+"/freeze", map[string]string{"reason": "operator"}, &state)
	s.page.expect(err == nil && state.State == "frozen", "agentid agent freeze %s: %s", s.ref, state.State)
	s.denied(ctx, c, "the next request, with a token that has not expired", refundOf(charge, 100, "demo-8"), "agent_not_live")
	_, err = s.agent.Mint(ctx, client.TokenRequest{Details: json.RawMessage(`[{"type":"agentid_template","template":"refund-customer","arguments":{"customer":"` + customer + `","max_amount":100}}]`), Resource: s.resource})
	s.page.expect(agentid.ReasonOf(asError(err)) == "agent_not_live", "and no new token: %v", err)
	return nil
}

// asError reads a refusal of the broker as an error with a reason.
func asError(err error) error {
	if r, ok := errors.AsType[*client.Refusal](err); ok {
		return r.AsError()
	}
	return err
}
