package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/agentproxy"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/paysim"
	"github.com/agentid-dev/agentid/internal/yamlfile"
	"github.com/agentid-dev/agentid/server/admin"
)

// The people and payments of the example.
const (
	agentName = "refunds-1"
	customer  = "cus_ada"
	charge    = "ch_ada"   // 100.00 USD
	nearly    = "ch_ada_2" // 50.00 USD, of which 20.00 are left
	stranger  = "ch_bob"
)

// world is everything that runs.
type world struct {
	logger   *slog.Logger
	sim      *paysim.Simulator
	process  *process.Process
	gateway  *process.Apart // nil: the gateway is in process
	admin    adminclient.Admin
	agent    *client.Client
	ref      agentid.Ref
	resource string
	apart    bool // broker and gateway over the internal API
	servers  []*http.Server
}

// newWorld starts the simulator and the server, declares the tenant and registers the
// agent. What was started is in the world also when it fails.
func newWorld(ctx context.Context, dir string, apart bool, logger *slog.Logger, version string) (*world, error) {
	w := &world{logger: logger, apart: apart}
	const upstreamKey = "sk_test_the_agent_never_sees_this"
	upstream, err := w.simulator(upstreamKey)
	if err != nil {
		return w, err
	}
	if err := w.serve(ctx, dir, version); err != nil {
		return w, err
	}
	if err := w.declare(ctx, upstream, upstreamKey); err != nil {
		return w, err
	}
	return w, w.register(ctx, dir)
}

// simulator seeds and serves the payments API.
func (w *world) simulator(key string) (string, error) {
	sim, err := paysim.New(paysim.Config{Key: agentid.NewSecret(key)})
	if err != nil {
		return "", err //nolint:wrapcheck // names the field
	}
	w.sim = sim
	err = errors.Join(
		sim.AddCustomer(paysim.Customer{ID: customer, Name: "Ada"}),
		sim.AddCustomer(paysim.Customer{ID: "cus_bob", Name: "Bob"}),
		sim.AddCharge(paysim.Charge{ID: charge, Customer: customer, Currency: "usd", Amount: 10000}),
		sim.AddCharge(paysim.Charge{ID: nearly, Customer: customer, Currency: "usd", Amount: 5000, Refunded: 3000}),
		sim.AddCharge(paysim.Charge{ID: stranger, Customer: "cus_bob", Currency: "usd", Amount: 10000}),
		sim.AddSubscription(paysim.Subscription{ID: "sub_ada", Customer: customer}))
	if err != nil {
		return "", fmt.Errorf("seed the simulator: %w", err)
	}
	return w.listen(sim)
}

// listen serves a handler on loopback and gives its URL.
func (w *world) listen(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	s := httpx.NewServer("", h, w.logger)
	w.servers = append(w.servers, s)
	go func() { _ = s.Serve(l) }() // ends with Shutdown
	return "http://" + l.Addr().String(), nil
}

// serve starts the real server on free ports. The ports are taken first, because the
// issuer and the resource hold them.
func (w *world) serve(ctx context.Context, dir, version string) error {
	listeners := map[string]net.Listener{}
	take := func() (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("listen: %w", err)
		}
		listeners[l.Addr().String()] = l
		return l.Addr().String(), nil
	}
	broker, err := take()
	if err != nil {
		return err
	}
	gateway, err := take()
	if err != nil {
		return err
	}
	cfg := config.Default(filepath.Join(dir, "data"))
	cfg.Broker.Listen, cfg.Broker.URL = broker, "http://"+broker
	cfg.Gateway.Listen = []string{gateway}
	w.resource = "http://" + gateway
	options := process.Options{
		Logger: w.logger, Version: version, Apart: w.apart,
		Listen: func(network, addr string) (net.Listener, error) {
			if l, ok := listeners[addr]; ok {
				return l, nil
			}
			return net.Listen(network, addr)
		},
	}
	if w.apart {
		if err := certify(&cfg); err != nil {
			return err
		}
	}
	if w.process, err = process.Start(ctx, cfg, options); err != nil {
		return err //nolint:wrapcheck // says which part
	}
	if w.apart {
		if err := w.startGateway(ctx, cfg, options, dir); err != nil {
			return err
		}
	}
	w.admin, err = adminclient.AdminFromFile(cfg.Broker.URL, cfg.Admin.TokenFile)
	return err //nolint:wrapcheck // names the file
}

// declare applies the example file.
func (w *world) declare(ctx context.Context, upstream, key string) error {
	text, err := examples.AcmeAt(w.resource, upstream, key)
	if err != nil {
		return err //nolint:wrapcheck // says what is missing
	}
	docs, err := yamlfile.Split("acme.yaml", []byte(text))
	if err != nil {
		return err //nolint:wrapcheck // every problem with its line
	}
	var set []admin.Document
	for _, d := range docs {
		raw, err := d.JSON()
		if err != nil {
			return err //nolint:wrapcheck // every problem with its line
		}
		set = append(set, admin.Document{Source: d.File, Line: d.Line(), Object: raw})
	}
	return w.admin.Call(ctx, http.MethodPost, "/apply", map[string]any{"documents": set}, nil) //nolint:wrapcheck // a Refusal says it all
}

// register makes the agent's key and registers its public half.
func (w *world) register(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "agent.key")
	key, err := client.GenerateKey("EdDSA")
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if err := key.Save(path); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	if w.ref, err = agentid.AgentRef("acme", agentName); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	err = w.admin.Call(ctx, http.MethodPut, "/tenants/acme/agents/"+agentName, map[string]any{
		"type": "refund-agent", "principal": "alice", "key": key.Public(), "expires": time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	}, nil)
	if err != nil {
		return err //nolint:wrapcheck // a Refusal says it all
	}
	if key, err = client.LoadKey(path); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	w.agent, err = client.New(client.Config{Issuer: w.admin.Base + "/acme", Agent: w.ref, Key: key})
	return err //nolint:wrapcheck // names the field
}

// sdk is Stripe's own SDK behind a proxy of the agent, which asks for one refund of at
// most the given amount. The token goes to seen.
func (w *world) sdk(maxAmount int64, seen func(client.Token)) (*stripe.Client, error) {
	details, err := json.Marshal([]map[string]any{{
		"type": "agentid_template", "template": "refund-customer",
		"arguments": map[string]any{"customer": customer, "max_amount": maxAmount},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	p, err := agentproxy.New(agentproxy.Config{
		Agent: w.agent, Request: client.TokenRequest{Details: details, Resource: w.resource}, Minted: seen, Logger: w.logger,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // names the field
	}
	base, err := w.listen(p)
	if err != nil {
		return nil, err
	}
	return stripe.NewClient("sk_unused", stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String(base), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	}))), nil
}

// close stops everything.
func (w *world) close(ctx context.Context) error {
	var all []error
	for _, s := range w.servers {
		all = append(all, s.Close())
	}
	if w.gateway != nil {
		all = append(all, w.gateway.Close(ctx))
	}
	if w.process != nil {
		all = append(all, w.process.Close(ctx))
	}
	return errors.Join(all...)
}
