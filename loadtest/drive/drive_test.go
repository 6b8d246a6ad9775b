package drive

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/loadtest/openloop"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

func TestAMixIsSpreadEvenly(t *testing.T) {
	require.Equal(t, []string{"read", "read", "mint", "read", "read"}, schedule([]scenario.Share{{Do: "read", Weight: 4}, {Do: "mint", Weight: 1}}))
}

func point(edit func(*Point)) Point {
	p := Point{Rate: 10, Load: &openloop.Result{All: openloop.Op{Count: 100}}}
	edit(&p)
	return p
}

func TestWhatMakesARunFail(t *testing.T) {
	grown := make([]Memory, 12)
	for i := range grown {
		grown[i].Resident = int64(100 + 10*i)
	}
	s := scenario.Scenario{Expect: scenario.Expect{P99: time.Millisecond, MemoryGrowthPct: 5, MaxDropped: 1}}
	for want, p := range map[string]Point{
		"3 of 100 were not answered as they must be: read: allowed after its revocation returned (3)": point(func(p *Point) {
			p.Load.All.Failed = 3
			p.Load.Ops = map[string]openloop.Op{"read": {Failed: 3, Classes: map[string]int64{"ok": 97, "allowed after its revocation returned": 3}}}
		}),
		"2 arrivals could not be sent": point(func(p *Point) { p.Load.Dropped = 2 }),
		"it was saturated":             point(func(p *Point) { p.Load.Lateness.P99 = 100_000 }),
		"the server grew by":           point(func(p *Point) { p.Memory = grown }),
		"above 1ms":                    point(func(p *Point) { p.Load.All.Latency.P99 = 2000 }),
	} {
		faults := Judge(s, []Point{p})
		require.Len(t, faults, 1, want)
		require.Contains(t, faults[0], want)
	}
	require.Empty(t, Judge(s, []Point{point(func(*Point) {})}))
}

func TestAnAllowanceAgainstThePolicyIsAFailure(t *testing.T) {
	require.Equal(t, openloop.Outcome{Op: "denied", Class: "allowed and must not be"}, judged("denied", 200, 403, ""))
	require.True(t, judged("denied", 403, 403, "resource_not_permitted").OK)
	require.False(t, judged("denied", 502, 403, "upstream_failed").OK, "an outage is no refusal")
	require.False(t, judged("read", 403, 200, "agent_not_live").OK)
}

// TestALiveRunIsRefused unless it is known to be harmless.
func TestALiveRunIsRefused(t *testing.T) {
	key, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	ref, err := agentid.AgentRef("acme", "probe")
	require.NoError(t, err)
	agent, err := client.New(client.Config{Issuer: "http://127.0.0.1:7420/acme", Agent: ref, Key: key})
	require.NoError(t, err)
	good := func() LiveConfig {
		return LiveConfig{
			Scenario: scenario.Scenario{
				World: scenario.World{Tenants: 1, Agents: 1, Depth: 1}, Mix: []scenario.Share{{Do: scenario.OpRead, Weight: 1}},
				Rates: []int{10}, Step: time.Second, Burst: 1, Tokens: scenario.Tokens{Reuse: scenario.ReuseWarm},
			},
			Target: "http://127.0.0.1:7421", Agent: agent, Read: "/v1/customers/cus_1",
			Limits: Limits{Hosts: []string{"127.0.0.1"}, Confirmed: true},
		}
	}
	require.NoError(t, good().Check())
	for want, edit := range map[string]func(*LiveConfig){
		"refund is not sent to a live deployment": func(c *LiveConfig) { c.Scenario.Mix[0].Do = scenario.OpRefund },
		"revoke is not sent to a live deployment": func(c *LiveConfig) { c.Scenario.Mix[0].Do = scenario.OpRevoke },
		"a live deployment is as it is":           func(c *LiveConfig) { c.Scenario.World.Agents = 2 },
		"not asked for a token for each request":  func(c *LiveConfig) { c.Scenario.Tokens.Reuse = scenario.ReuseFresh },
		"pay.example.com is not among the hosts":  func(c *LiveConfig) { c.Target = "https://pay.example.com" },
		"http is for loopback addresses only": func(c *LiveConfig) {
			c.Target, c.Limits.Hosts = "http://pay.example.com", []string{"127.0.0.1", "pay.example.com"}
		},
		"127.0.0.1:7421 is not among the hosts":         func(c *LiveConfig) { c.Limits.Hosts = []string{"127.0.0.1:7420"} },
		"127.0.0.1:7420 is not among the hosts":         func(c *LiveConfig) { c.Limits.Hosts = []string{"127.0.0.1:7421"} },
		"want scheme://host":                            func(c *LiveConfig) { c.Target = "127.0.0.1:7421" },
		"want the path of a read":                       func(c *LiveConfig) { c.Read = "" },
		"and the limit is 50":                           func(c *LiveConfig) { c.Scenario.Rates = []int{51} },
		"the limit is 50 per second":                    func(c *LiveConfig) { c.Scenario.Burst = 51 },
		"and the limit is 1m0s":                         func(c *LiveConfig) { c.Scenario.Step = 2 * time.Minute },
		"load on a live deployment has to be confirmed": func(c *LiveConfig) { c.Limits.Confirmed = false },
	} {
		c := good()
		edit(&c)
		_, err := Live(t.Context(), c)
		require.ErrorContains(t, err, want)
	}
}
