package server_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid/capability"
)

// genDetail draws from few values, so that a child's often fits below its parent's and
// often does not.
func genDetail(t *rapid.T, label string) map[string]any {
	pick := func(of ...any) any { return rapid.SampledFrom(of).Draw(t, label) }
	limits := map[string]any{}
	operations := pick([]string{"payments:refund"}, []string{"payments:refund"}, []string{"payments:read_customer"}, []string{"payments:read_customer", "payments:refund"}).([]string)
	if slices.Contains(operations, "payments:refund") && len(operations) == 1 {
		amount := map[string]any{}
		switch pick("none", "max", "max", "fact", "both") {
		case "max":
			amount["max"], amount["currency"] = pick(100, 200, 300), pick("usd", "usd", "usd", "eur")
		case "fact":
			amount["at_most_fact"] = "charge.refundable"
		case "both":
			amount["max"], amount["currency"], amount["at_most_fact"] = pick(100, 200), "usd", "charge.refundable"
		}
		if len(amount) > 0 {
			limits["amount"] = amount
		}
		if reasons := pick("", "duplicate", "duplicate,fraudulent", "fraudulent").(string); reasons != "" {
			limits["reason"] = map[string]any{"in": strings.Split(reasons, ",")}
		}
		if n := pick(0, 0, 1, 2).(int); n > 0 {
			limits["uses"] = map[string]any{"max": n}
		}
	}
	if before := pick("", "", "2100-01-01T00:00:00Z", "2110-01-01T00:00:00Z").(string); before != "" {
		limits["time"] = map[string]any{"before": before}
	}
	if network := pick("", "", "10.0.0.0/8", "10.1.0.0/16").(string); network != "" {
		limits["client_ip"] = map[string]any{"within": []string{network}}
	}
	detail := map[string]any{
		"type": capability.DetailType, "actions": operations,
		"identifier": pick("payments_account:acme/stripe", "payments_customer:acme/cus_1", "payments_customer:acme/cus_1", "payments_customer:acme/cus_2"),
	}
	if len(limits) > 0 {
		detail["constraints"] = limits
	}
	return detail
}

func genDetails(t *rapid.T, label string) string {
	details := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) map[string]any { return genDetail(t, label) }), 1, 2).Draw(t, label)
	return string(must(json.Marshal(details)))
}

// permits says what a token allows by a reading of its own: some capability names the
// operation, the resource or its account, and every constraint holds. It knows nothing of
// Within.
func permits(c capability.Claims, operation, resource string, in capability.Inputs, facts capability.Facts) bool {
	return slices.ContainsFunc(c.Capabilities, func(p capability.Capability) bool {
		name := p.Resource.String()
		return (name == resource || name == "payments_account:acme/stripe") && slices.Contains(p.Operations, operation) &&
			p.Constraints.Check(in) == nil && p.Constraints.CheckFacts(in, facts) == nil
	})
}

// Whatever a child asks for, it is refused, or given a token that allows nothing that its
// parent's does not: no operation, resource, input, life, audience or count.
func TestExchangeIsWithinTheParentOrRefused(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	granted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		asked := genDetails(rt, "parent")
		resp, doc := w.do(w.agent, w.tokenCall("authorization_details", asked))
		if resp.StatusCode != http.StatusOK { // constraints that the operation does not have
			require.Less(rt, resp.StatusCode, 500, "%v", doc)
			return
		}
		parentToken := doc["access_token"].(string)
		parent := w.claims(parentToken)
		details := genDetails(rt, "child")
		if rapid.IntRange(0, 3).Draw(rt, "same?") == 0 {
			details = asked
		}
		resp, doc = w.do(child, w.exchangeCall(parentToken, "authorization_details", details))
		require.Less(rt, resp.StatusCode, 500, "%v", doc)
		if resp.StatusCode != http.StatusOK {
			refused++
			require.NotEmpty(rt, doc["reason"])
			require.NotEmpty(rt, doc["field"])
			require.False(rt, details == asked, "its parent's own capabilities are refused: %v", doc)
			return
		}
		granted++
		within(rt, w.claims(doc["access_token"].(string)), parent)
	})
	require.NotZero(t, granted)
	require.NotZero(t, refused)
	t.Logf("%d exchanges granted, %d refused", granted, refused)
}

func within(t *rapid.T, c, parent capability.Claims) {
	require.Equal(t, parent.Audience, c.Audience)
	require.Equal(t, parent.Principal(), c.Principal())
	require.False(t, c.Expiry.After(parent.Expiry))
	require.Equal(t, parent.Lineage(), c.Lineage()[1:])
	for range 30 {
		pick := func(of ...any) any { return rapid.SampledFrom(of).Draw(t, "input") }
		operation := pick("payments:refund", "payments:read_customer").(string)
		resource := pick("payments_customer:acme/cus_1", "payments_customer:acme/cus_2", "payments_customer:acme/cus_3").(string)
		in := capability.Inputs{
			"amount":    capability.Money{Amount: int64(pick(1, 100, 101, 200, 201, 300, 301).(int)), Currency: pick("usd", "eur").(string)},
			"reason":    pick("duplicate", "fraudulent", "requested_by_customer"),
			"time":      pick(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2105, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2111, 1, 1, 0, 0, 0, 0, time.UTC)),
			"client_ip": netip.MustParseAddr(pick("10.1.0.1", "10.2.0.1", "192.0.2.1").(string)),
		}
		facts := capability.Facts{"charge.refundable": capability.Money{Amount: int64(pick(50, 250).(int)), Currency: "usd"}}
		if permits(c, operation, resource, in, facts) && !permits(parent, operation, resource, in, facts) {
			t.Fatalf("%s on %s with %v is allowed to the child only", operation, resource, in)
		}
	}
	// Nobody uses more often than all counts above allow.
	for _, p := range c.Capabilities {
		counts := c.Counts(p)
		for i, count := range counts[min(1, len(counts)):] {
			require.GreaterOrEqual(t, count.Max, counts[0].Max)
			require.Equal(t, c.Context.Chain[i], count.Token)
		}
		uncounted := slices.ContainsFunc(parent.Capabilities, func(q capability.Capability) bool {
			_, limited := q.Constraints.Uses()
			return !limited && p.Within(capability.Capability{Resource: p.Resource, Operations: q.Operations, Constraints: q.Constraints}) == nil
		})
		require.True(t, uncounted || len(counts) > 1, "a count is left behind")
	}
}
