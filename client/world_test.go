package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/paysim"
	"github.com/agentid-dev/agentid/internal/yamlfile"
	declared "github.com/agentid-dev/agentid/server/admin"
)

// world is a real broker and gateway, and the payments simulator behind them.
type world struct {
	Issuer   string
	Resource string
	sim      *paysim.Simulator
	admin    adminclient.Admin
	process  *process.Process
	upstream *httptest.Server
	dir      string
}

// started begins a world; close ends it.
func started(ctx context.Context) (w *world, err error) {
	w = &world{}
	if w.dir, err = os.MkdirTemp("", "agentid-client-"); err != nil {
		return w, err
	}
	const key = "sk_test_of_the_connector"
	if w.sim, err = paysim.New(paysim.Config{Key: agentid.NewSecret(key)}); err != nil {
		return w, err
	}
	err = errors.Join(w.sim.AddCustomer(paysim.Customer{ID: "cus_ada"}),
		w.sim.AddCharge(paysim.Charge{ID: "ch_ada", Customer: "cus_ada", Currency: "usd", Amount: 1_000_000}))
	if err != nil {
		return w, err
	}
	w.upstream = httptest.NewServer(w.sim)
	listeners := map[string]net.Listener{}
	var addrs [2]string
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return w, err
		}
		addrs[i] = l.Addr().String()
		listeners[addrs[i]] = l
	}
	cfg := config.Default(filepath.Join(w.dir, "data"))
	cfg.Broker.Listen, cfg.Broker.URL, cfg.Gateway.Listen = addrs[0], "http://"+addrs[0], addrs[1:]
	w.Issuer, w.Resource = cfg.Broker.URL+"/acme", "http://"+addrs[1]
	w.process, err = process.Start(ctx, cfg, process.Options{
		Logger: slog.New(slog.DiscardHandler), Listen: func(_, addr string) (net.Listener, error) { return listeners[addr], nil },
	})
	if err != nil {
		return w, err
	}
	if w.admin, err = adminclient.AdminFromFile(cfg.Broker.URL, cfg.Admin.TokenFile); err != nil {
		return w, err
	}
	text, err := examples.AcmeAt(w.Resource, w.upstream.URL, key)
	if err != nil {
		return w, err
	}
	return w, w.apply(ctx, text+"---\n"+examples.Lineage())
}

func (w *world) apply(ctx context.Context, text string) error {
	docs, err := yamlfile.Split("world.yaml", []byte(text))
	if err != nil {
		return err
	}
	var set []declared.Document
	for _, d := range docs {
		raw, err := d.JSON()
		if err != nil {
			return err
		}
		set = append(set, declared.Document{Source: d.File, Line: d.Line(), Object: raw})
	}
	return w.admin.Call(ctx, http.MethodPost, "/apply", map[string]any{"documents": set}, nil)
}

func (w *world) Close() {
	if w.process != nil {
		_ = w.process.Close(context.Background())
	}
	if w.upstream != nil {
		w.upstream.Close()
	}
	_ = os.RemoveAll(w.dir)
}

// register starts a planner that acts for alice.
func (w *world) register(ctx context.Context, name string) (*client.Client, error) {
	key, err := client.GenerateKey("EdDSA")
	if err != nil {
		return nil, err
	}
	ref, err := agentid.AgentRef("acme", name)
	if err != nil {
		return nil, err
	}
	err = w.admin.Call(ctx, http.MethodPut, "/tenants/acme/agents/"+name, map[string]any{
		"type": "planner", "principal": "alice", "key": key.Public(), "expires": time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	}, nil)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Issuer: w.Issuer, Agent: ref, Key: key})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w, err := started(t.Context())
	t.Cleanup(w.Close)
	require.NoError(t, err)
	return w
}

func (w *world) agent(t *testing.T, name string) *client.Client {
	t.Helper()
	c, err := w.register(t.Context(), name)
	require.NoError(t, err)
	return c
}

// demo is a world with one agent, for the examples.
func demo() (*world, *client.Client) {
	w, err := started(context.Background())
	if err == nil {
		var c *client.Client
		if c, err = w.register(context.Background(), "planner-1"); err == nil {
			return w, c
		}
	}
	w.Close()
	panic(fmt.Sprint("the example's world: ", err))
}
