package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/adminclient"
)

// split is an installation of one broker and some gateways, each a process of its own.
// All gateways serve the one connector of the site.
type split struct {
	*site
	fleet, graph string // where gateways reach the broker
	broker       *daemon
	gateways     []*apart
}

// apart is one gateway.
type apart struct {
	name, addr, health string
	config, folder     string
	daemon             *daemon
	environment        []string
}

// newSplit writes the configurations, makes the certificates with the program, and starts
// the broker. fleetAt, when given, is where a gateway is told that the broker is, by its
// number; nil: where it is.
func newSplit(t *testing.T, gateways int, fleetAt func(i int, addr string) string) *split {
	t.Helper()
	s := &split{site: newSite(t), fleet: freePort(t), graph: freePort(t)}
	s.config = s.write("broker.yaml", fmt.Sprintf(
		"data_dir: data\nbroker: {listen: %q, url: %q}\nfleet: {listen: %q, graph_listen: %q}\nrates: {agent_per_minute: 100000, agent_burst: 100000}\n",
		s.base[len("http://"):], s.base, s.fleet, s.graph))
	s.must("fleet", "init", "--data", filepath.Join(s.dir, "data"), "--cluster", "test")
	t.Cleanup(s.stop)
	s.startBroker()
	for i := range gateways {
		at := s.fleet
		if fleetAt != nil {
			at = fleetAt(i, s.fleet)
		}
		s.addGateway(fmt.Sprintf("gw-%d", i+1), at)
	}
	return s
}

func (s *split) startBroker(environment ...string) {
	s.t.Helper()
	s.broker = startDaemon(s.t, environment, "broker", "--config", s.config)
}

// addGateway makes a gateway's certificate and configuration.
func (s *split) addGateway(name, fleetAt string) *apart {
	s.t.Helper()
	g := &apart{name: name, addr: freePort(s.t), health: freePort(s.t)}
	folder := filepath.Join(s.dir, name)
	s.must("fleet", "certificate", "--data", filepath.Join(s.dir, "data"), "--gateway", name, "--out", folder)
	g.folder = folder
	g.config = s.write(name+".yaml", fmt.Sprintf(`gateway: {listen: [%q]}
broker:
  url: %q
  graph: %q
  tls: {cert: %s/tls.crt, key: "file:%s/tls.key", ca: %s/ca.crt}
health: {listen: %q}
rates: {agent_per_minute: 1000000, agent_burst: 100000, token_per_minute: 1000000, token_burst: 100000}
`, g.addr, "https://"+fleetAt, s.graph, name, name, name, g.health))
	s.gateways = append(s.gateways, g)
	return g
}

func (s *split) startGateways() {
	s.t.Helper()
	for _, g := range s.gateways {
		if g.daemon == nil {
			g.daemon = startDaemon(s.t, g.environment, "gateway", "--config", g.config)
		}
	}
}

func (s *split) stop() {
	for _, g := range s.gateways {
		if g.daemon != nil {
			g.daemon.kill()
			g.daemon = nil
		}
	}
	if s.broker != nil {
		s.broker.kill()
		s.broker = nil
	}
}

// through sends an agent's requests to one gateway, whatever the resource's host is.
func (s *split) through(g *apart, agent *client.Client) *caller {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, g.addr)
	}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &caller{site: s.site, agent: agent, http: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// aRead asks to read what belongs to one customer.
func (s *split) aRead() client.TokenRequest {
	return client.TokenRequest{
		Details:  json.RawMessage(`[{"type":"agentid_template","template":"read-customer","arguments":{"customer":"cus_ada"}}]`),
		Resource: s.resource,
	}
}

func (s *split) mint(agent *client.Client) client.Token {
	s.t.Helper()
	token, err := agent.Mint(s.t.Context(), s.aRead())
	require.NoError(s.t, err)
	return token
}

const readPath = "/v1/charges/ch_ada"

// reads makes one read.
func (c *caller) reads(ctx context.Context, token client.Token) (int, string, error) {
	return c.do(ctx, http.MethodGet, readPath, "", "", token)
}

// admin calls the administration.
func (s *split) admin(method, path string, in, out any) {
	s.t.Helper()
	admin, err := adminclient.AdminFromFile(s.base, s.credential)
	require.NoError(s.t, err)
	require.NoError(s.t, admin.Call(s.t.Context(), method, path, in, out))
}

// ready waits until every gateway vouches for what it remembers.
func (s *split) ready() {
	s.t.Helper()
	for _, g := range s.gateways {
		s.isReady(g)
	}
}

func (s *split) isReady(g *apart) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return g.status(s.t, "/readyz") == http.StatusOK }, 20*time.Second, 10*time.Millisecond, "%s", g.name)
}

func (g *apart) status(t *testing.T, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.health+path, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}
