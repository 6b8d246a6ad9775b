package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/client"
)

// An agent with its key in a file gets a token for one refund, and any HTTP client sends
// it through the gateway.
func Example() {
	world, agent := demo() // stands for: client.New(client.Config{Issuer: …, Agent: …, Key: key})
	defer world.Close()

	payments := &http.Client{Transport: agent.Transport(client.Template("refund-customer", map[string]any{
		"customer": "cus_ada", "max_amount": 4200,
	}))}
	req, err := http.NewRequest(http.MethodPost, world.Resource+"/v1/refunds", strings.NewReader("charge=ch_ada&amount=4200"))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Idempotency-Key", "order-17")
	resp, err := payments.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, len(world.sim.Refunds()))
	// Output: 200 1
}

// A token by itself, for a program that speaks to the gateway in its own way.
func ExampleClient_Token() {
	world, agent := demo()
	defer world.Close()

	token, err := agent.Token(context.Background(), client.Template("read-customer", map[string]any{"customer": "cus_ada"}))
	if err != nil {
		panic(err)
	}
	fmt.Println(token.Type, token.Scope)
	fmt.Println(token.Access) // a secret does not print
	// Output:
	// DPoP payments:read_charge payments:read_customer payments:read_refund
	// [redacted]
}

// A parent spawns a child for one piece of work. The child's key is in this process only,
// and no token of it exceeds its ceiling.
func ExampleClient_Spawn() {
	world, parent := demo()
	defer world.Close()
	ctx := context.Background()

	child, err := parent.Spawn(ctx, client.SpawnRequest{
		Type: "refund-agent", Name: "child-1", Lifetime: 10 * time.Minute,
		CeilingTemplates: []capability.TemplateCall{{Template: "read-customer", Arguments: map[string]any{"customer": "cus_ada"}}},
	})
	if err != nil {
		panic(err)
	}
	self, err := child.Self(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(self.Lineage, self.Principal)

	_, err = child.Token(ctx, client.Template("refund-customer", map[string]any{"customer": "cus_ada", "max_amount": 1}))
	refused, _ := errors.AsType[*client.Refusal](err)
	fmt.Println("a refund:", refused.Reason)

	if _, err := child.Retire(ctx); err != nil {
		panic(err)
	}
	_, err = child.Token(ctx, client.Template("read-customer", map[string]any{"customer": "cus_ada"}))
	fmt.Println("when retired:", err != nil)
	// Output:
	// [agent:acme/child-1 agent:acme/planner-1] principal:acme/alice
	// a refund: ceiling_exceeded
	// when retired: true
}

// A child's token made from its parent's: within its capabilities, and no longer.
func ExampleClient_Exchange() {
	world, parent := demo()
	defer world.Close()
	ctx := context.Background()

	child, err := parent.Spawn(ctx, client.SpawnRequest{Type: "refund-agent"})
	if err != nil {
		panic(err)
	}
	token, err := parent.Token(ctx, client.Template("refund-customer", map[string]any{"customer": "cus_ada", "max_amount": 4200}))
	if err != nil {
		panic(err)
	}
	less, err := child.Exchange(ctx, token, client.Template("refund-customer", map[string]any{"customer": "cus_ada", "max_amount": 100}))
	if err != nil {
		panic(err)
	}
	fmt.Println(less.Scope, !less.Expires.After(token.Expires.Add(time.Second)))

	_, err = child.Exchange(ctx, token, client.Template("refund-customer", map[string]any{"customer": "cus_ada", "max_amount": 4300}))
	refused, _ := errors.AsType[*client.Refusal](err)
	fmt.Println(refused.Reason)
	// Output:
	// payments:refund true
	// capability_exceeds_parent
}

func ExampleNew() {
	key, err := client.GenerateKey("EdDSA") // or client.LoadKey("agent.key")
	if err != nil {
		panic(err)
	}
	ref, err := agentid.ParseRefAs(agentid.TypeAgent, "agent:acme/refunds-1")
	if err != nil {
		panic(err)
	}
	agent, err := client.New(client.Config{Issuer: "https://id.example.com/acme", Agent: ref, Key: key})
	if err != nil {
		panic(err)
	}
	fmt.Println(agent.Agent())
	// Output: agent:acme/refunds-1
}
