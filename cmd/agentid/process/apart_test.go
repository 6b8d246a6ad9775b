package process_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/brokered"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// cluster is a broker alone, with its authority.
type cluster struct {
	t         *testing.T
	dir       string
	authority *fleetcert.Authority
	broker    *process.Process
}

func newCluster(t *testing.T, fleet string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	folder := filepath.Join(c.dir, "data", config.FleetFolder)
	var err error
	c.authority, err = fleetcert.Init(folder, "test", time.Now())
	require.NoError(t, err)
	pair, err := c.authority.Broker([]string{"127.0.0.1"}, time.Hour, time.Now())
	require.NoError(t, err)
	require.NoError(t, pair.Write(filepath.Join(folder, config.BrokerFolder)))
	cfg := parse(t, c.dir, "data_dir: data\nbroker: {listen: '127.0.0.1:0', url: 'http://127.0.0.1'}\n"+
		"fleet: {listen: '127.0.0.1:0', graph_listen: '127.0.0.1:0'"+fleet+"}\n")
	c.broker, err = process.Start(t.Context(), cfg, process.Options{Logger: slog.New(slog.DiscardHandler), Version: "test", Apart: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.broker.Close(context.Background())) })
	return c
}

// pair is a certificate for a gateway that may serve the named connectors.
func (c *cluster) pair(name string, connectors ...string) fleetcert.Pair {
	c.t.Helper()
	var refs []agentid.Ref
	for _, text := range connectors {
		ref, err := agentid.ParseRefAs(agentid.TypeConnector, text)
		require.NoError(c.t, err)
		refs = append(refs, ref)
	}
	pair, err := c.authority.Gateway(name, refs, len(refs) == 0, time.Hour, time.Now())
	require.NoError(c.t, err)
	return pair
}

func (c *cluster) tls(pair *fleetcert.Pair) *tls.Config {
	c.t.Helper()
	roots := x509.NewCertPool()
	other, err := c.authority.Gateway("any", nil, true, time.Hour, time.Now())
	require.NoError(c.t, err)
	require.True(c.t, roots.AppendCertsFromPEM(other.Authority))
	out := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if pair != nil {
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		require.NoError(c.t, err)
		out.Certificates = []tls.Certificate{cert}
	}
	return out
}

// call makes one call of the internal API and gives the reason of its refusal, or "".
func (c *cluster) call(pair *fleetcert.Pair, path string, in any, header ...string) (reason, message string, err error) {
	c.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls(pair), DisableKeepAlives: true}}
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if in != nil {
		data, err := json.Marshal(in)
		require.NoError(c.t, err)
		method, body = http.MethodPost, bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.broker.FleetAddr()+path, body)
	require.NoError(c.t, err)
	req.Header.Set(api.HeaderVersion, api.Version)
	req.Header.Set(api.HeaderCluster, "test")
	req.Header.Set(api.HeaderIncarnation, c.incarnation(pair, path))
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer func() { require.NoError(c.t, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	if resp.StatusCode == http.StatusOK {
		return "", string(data), nil
	}
	var p api.Problem
	require.NoError(c.t, json.Unmarshal(data, &p), string(data))
	return p.Reason, p.Message, nil
}

// incarnation is learned from the first line of a stream, as a gateway does.
func (c *cluster) incarnation(pair *fleetcert.Pair, path string) string {
	if path == api.PathEvents || path == api.PathSettings || pair == nil {
		return ""
	}
	good := c.pair("learner")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls(&good), DisableKeepAlives: true}}
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.broker.FleetAddr()+api.PathEvents, nil)
	require.NoError(c.t, err)
	req.Header.Set(api.HeaderVersion, api.Version)
	req.Header.Set(api.HeaderCluster, "test")
	resp, err := client.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	var line api.Line
	require.NoError(c.t, json.NewDecoder(resp.Body).Decode(&line))
	return line.Begin.State.Incarnation
}

func TestTheInternalAPIRefusesWhoIsNoGatewayOfTheCluster(t *testing.T) {
	c := newCluster(t, "")
	good := c.pair("gw-1")
	stranger, err := fleetcert.NewAuthority("test", time.Now())
	require.NoError(t, err)
	foreign, err := stranger.Gateway("gw-1", nil, true, time.Hour, time.Now())
	require.NoError(t, err)
	old, err := c.authority.Gateway("gw-1", nil, true, time.Hour, time.Now().Add(-2*time.Hour))
	require.NoError(t, err)
	broker, err := c.authority.Broker([]string{"127.0.0.1"}, time.Hour, time.Now())
	require.NoError(t, err)

	reason, _, err := c.call(&good, api.PathSettings, nil)
	require.NoError(t, err)
	require.Empty(t, reason, "a gateway of the cluster is let in")
	for name, pair := range map[string]*fleetcert.Pair{
		"no certificate": nil, "another authority's": &foreign, "one that ran out": &old, "a broker's own": &broker,
	} {
		for _, path := range []string{api.PathSettings, api.PathEvents} {
			_, _, err := c.call(pair, path, nil)
			require.Error(t, err, "%s: the handshake fails", name)
		}
	}
	for name, tc := range map[string]struct {
		header       []string
		reason, says string
	}{
		"another version":   {[]string{api.HeaderVersion, "1"}, "protocol_version", "run the same release on both sides"},
		"no version":        {[]string{api.HeaderVersion, ""}, "protocol_version", "run the same release"},
		"another cluster":   {[]string{api.HeaderCluster, "prod"}, "cluster_mismatch", `of cluster "prod", the broker of "test"`},
		"an earlier life":   {[]string{api.HeaderIncarnation, strings.Repeat("0", 32)}, "incarnation_mismatch", "subscribes again"},
		"no life":           {[]string{api.HeaderIncarnation, ""}, "incarnation_mismatch", "subscribes again"},
		"another media":     {[]string{"Content-Type", "text/plain"}, "unsupported_media_type", "application/json"},
		"a compressed body": {[]string{"Content-Encoding", "gzip"}, "content_encoding", ""},
	} {
		reason, message, err := c.call(&good, api.PathAudit, api.Batch{}, tc.header...)
		require.NoError(t, err)
		require.Equal(t, tc.reason, reason, name)
		require.Contains(t, message, tc.says, name)
	}
}

func record(phase auditlog.Phase, tenant, connector string) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Operation, Phase: phase, Request: "req-1", Tenant: tenant, Decision: auditlog.Allow,
		Notes: map[string]string{"connector": connector},
	}
}

func TestAGatewayActsOnlyForWhatItServes(t *testing.T) {
	c := newCluster(t, "")
	mine := c.pair("gw-1", "connector:acme/stripe")
	for name, tc := range map[string]struct {
		path   string
		in     any
		reason string
	}{
		"its own record":            {api.PathAudit, api.Batch{Records: []auditlog.Record{record(auditlog.Single, "acme", "connector:acme/stripe")}}, ""},
		"a stranger's refusal":      {api.PathAudit, api.Batch{Records: []auditlog.Record{{Kind: auditlog.Authn, Phase: auditlog.Single}}}, ""},
		"another tenant's record":   {api.PathAudit, api.Batch{Records: []auditlog.Record{{Kind: auditlog.Operation, Phase: auditlog.Single, Tenant: "globex"}}}, "connector_not_served"},
		"an administrator's record": {api.PathAudit, api.Batch{Records: []auditlog.Record{{Kind: auditlog.Admin, Phase: auditlog.Single}}}, "invalid_request"},
		"a begin without a request": {api.PathAudit, api.Batch{Records: []auditlog.Record{{Kind: auditlog.Operation, Phase: auditlog.Begin, Tenant: "acme"}}}, "audit_record_invalid"},
		"no phase":                  {api.PathAudit, api.Batch{Records: []auditlog.Record{{Kind: auditlog.Operation, Tenant: "acme"}}}, "invalid_request"},
		"no records":                {api.PathAudit, api.Batch{}, "invalid_request"},
		"too many records":          {api.PathAudit, api.Batch{Records: make([]auditlog.Record, api.MaxBatch+1)}, "invalid_request"},
		"a subscription not its":    {api.PathRenew, api.Renew{Subscription: "x"}, "subscription_dropped"},
		"an unknown path":           {"/internal/v1/admin", struct{}{}, "path_unknown"},
	} {
		reason, message, err := c.call(&mine, tc.path, tc.in)
		require.NoError(t, err, name)
		require.Equal(t, tc.reason, reason, "%s: %s", name, message)
	}
}

// TestEffectsThatTravelTogether: each is done or refused by itself; what is malformed refuses
// all of them before any is done.
func TestEffectsThatTravelTogether(t *testing.T) {
	c := newCluster(t, "")
	mine := c.pair("gw-1", "connector:acme/stripe")
	agent, err := agentid.AgentRef("acme", "a")
	require.NoError(t, err)
	token, err := agentid.TokenRef("acme", "t1")
	require.NoError(t, err)
	reserve := func(request string, change func(*wire.Reserve)) api.Effect {
		r := wire.Reserve{
			Token: token, Agent: agent, HoldKey: "acme/stripe/charge/ch_1", HoldAmount: 5,
			Record: record(auditlog.Begin, "acme", "connector:acme/stripe"), Deadline: time.Now().Add(time.Minute),
		}
		r.Record.Request = request
		change(&r)
		return api.Effect{Reserve: &r}
	}
	settle := func(id, request string, phase auditlog.Phase, outcome wire.Outcome) api.Effect {
		r := record(phase, "acme", "connector:acme/stripe")
		r.Request = request
		return api.Effect{Settle: &wire.Settlement{ID: id, Outcome: outcome, Record: r}}
	}
	calls := func(all ...api.Effect) (results []api.EffectResult, reason string) {
		reason, body, err := c.call(&mine, api.PathEffects, api.Effects{Calls: all})
		require.NoError(t, err)
		if reason != "" {
			return nil, reason
		}
		var out api.Effected
		require.NoError(t, api.Decode([]byte(body), api.MaxResponse, &out))
		require.Len(t, out.Results, len(all))
		return out.Results, ""
	}
	asIs := func(*wire.Reserve) {}
	results, reason := calls(
		reserve("req-1", asIs),
		reserve("req-2", func(r *wire.Reserve) { r.HoldKey = "acme/bank/charge/ch_1" }),
		reserve("req-3", func(r *wire.Reserve) { r.Record.Notes["connector"] = "connector:acme/bank" }),
		reserve("req-4", func(r *wire.Reserve) { r.Record.Notes = nil }),
		reserve("req-5", func(r *wire.Reserve) { r.Record.Tenant = "globex" }),
		reserve("req-6", asIs),
		settle("r1-00", "req-7", auditlog.Begin, wire.Done),
		settle("r1-00", "req-7", auditlog.Finish, wire.Done),
		settle("r1-00", "req-7", auditlog.Finish, 0),
	)
	require.Empty(t, reason)
	for i, want := range []string{
		"", "invalid_request", "connector_not_served", "invalid_request", "connector_not_served", "", "invalid_request", "reservation_unknown", "invalid_request",
	} {
		if want == "" {
			require.Nil(t, results[i].Problem, "call %d", i)
			require.NotEmpty(t, results[i].Reservation.ID)
			continue
		}
		require.Nil(t, results[i].Reservation, "call %d", i)
		require.Equal(t, want, results[i].Problem.Reason, "call %d", i)
	}
	first, sixth := results[0].Reservation, results[5].Reservation
	require.Len(t, append(first.Ahead, sixth.Ahead...), 1, "one of the two stands before the other, and what was refused does not")

	for name, bad := range map[string][]api.Effect{
		"none": nil, "neither": {{}}, "too many": make([]api.Effect, api.MaxCalls+1),
		"both":        {{Reserve: reserve("req-8", asIs).Reserve, Settle: settle(first.ID, "req-1", auditlog.Finish, wire.Done).Settle}},
		"one neither": {settle(first.ID, "req-1", auditlog.Finish, wire.Done), {}},
	} {
		_, reason := calls(bad...)
		require.Equal(t, "invalid_request", reason, name)
	}
	results, reason = calls(
		settle(sixth.ID, "req-1", auditlog.Finish, wire.Done), // of another request
		settle(first.ID, "req-1", auditlog.Finish, wire.Done),
		settle(sixth.ID, "req-6", auditlog.Finish, wire.Released),
	)
	require.Empty(t, reason)
	require.NotNil(t, results[0].Problem)
	require.Nil(t, results[1].Problem, "nothing of a call that was refused whole was done")
	require.Nil(t, results[2].Problem)
	results, _ = calls(reserve("req-9", asIs))
	require.Empty(t, results[0].Reservation.Ahead)
}

func TestARosterNarrowsWhoIsAdmitted(t *testing.T) {
	c := newCluster(t, ", gateways: [{name: gw-1}]")
	listed, unlisted := c.pair("gw-1"), c.pair("gw-2")
	reason, _, err := c.call(&listed, api.PathSettings, nil)
	require.NoError(t, err)
	require.Empty(t, reason)
	reason, message, err := c.call(&unlisted, api.PathSettings, nil)
	require.NoError(t, err)
	require.Equal(t, "gateway_not_admitted", reason)
	require.Contains(t, message, "fleet.gateways")
}

func TestTheGraphForGatewaysChecksAndNothingElse(t *testing.T) {
	c := newCluster(t, "")
	good := c.pair("gw-1")
	incarnation := c.incarnation(&good, "")
	check := func(conn *grpc.ClientConn, cluster string) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), api.HeaderVersion, api.Version, api.HeaderCluster, cluster, api.HeaderIncarnation, incarnation)
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		checker, err := brokered.New(brokered.Config{Conn: conn, Timeout: 5 * time.Second})
		require.NoError(t, err)
		agent, err := agentid.AgentRef("acme", "a")
		require.NoError(t, err)
		_, _, err = checker.CheckBulk(ctx, "", []policy.Check{{Resource: agent, Permission: "alive", Subject: agent}})
		return err
	}
	dial := func(pair *fleetcert.Pair) *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:///"+c.broker.GraphAddr(), grpc.WithTransportCredentials(credentials.NewTLS(c.tls(pair))))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		return conn
	}
	conn := dial(&good)
	require.NoError(t, check(conn, "test"))
	require.Equal(t, codes.PermissionDenied, status.Code(check(conn, "prod")))
	require.Equal(t, codes.Unavailable, status.Code(check(dial(nil), "test")), "without a certificate there is no connection")

	ctx := metadata.AppendToOutgoingContext(t.Context(), api.HeaderVersion, api.Version, api.HeaderCluster, "test", api.HeaderIncarnation, incarnation)
	_, err := v1.NewPermissionsServiceClient(conn).CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "SpiceDB itself is not asked")
	_, err = v1.NewPermissionsServiceClient(conn).WriteRelationships(ctx, &v1.WriteRelationshipsRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = v1.NewSchemaServiceClient(conn).ReadSchema(ctx, &v1.ReadSchemaRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "a gateway does not read the schema")
	stream, err := v1.NewPermissionsServiceClient(conn).ReadRelationships(ctx, &v1.ReadRelationshipsRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err), "nor relationships")
}

// gatewayFile writes a gateway's certificate and configuration.
func (c *cluster) gatewayFile(pair fleetcert.Pair, more string) config.GatewayFile {
	c.t.Helper()
	dir, err := os.MkdirTemp(c.dir, "gw-")
	require.NoError(c.t, err)
	require.NoError(c.t, pair.Write(filepath.Join(dir, "gateway-certificate")))
	cfg, err := config.ParseGateway(filepath.Join(dir, "gateway.yaml"), fmt.Appendf(nil,
		"gateway: {listen: ['127.0.0.1:0']}\nbroker: {url: 'https://%s', graph: '%s'%s}\nhealth: {listen: '127.0.0.1:0'}\n",
		c.broker.FleetAddr(), c.broker.GraphAddr(), more))
	require.NoError(c.t, err)
	return cfg
}

func TestAGatewayThatIsRefusedSaysWhatToDo(t *testing.T) {
	c := newCluster(t, ", gateways: [{name: gw-1}]")
	stranger, err := fleetcert.NewAuthority("test", time.Now())
	require.NoError(t, err)
	foreign, err := stranger.Gateway("gw-1", nil, true, time.Hour, time.Now())
	require.NoError(t, err)
	half := foreign // its certificate is of another authority, but it trusts ours
	half.Authority = c.pair("gw-1").Authority
	old, err := c.authority.Gateway("gw-1", nil, true, time.Hour, time.Now().Add(-2*time.Hour))
	require.NoError(t, err)
	elsewhere := c.gatewayFile(c.pair("gw-1"), "")
	elsewhere.Link.URL = strings.Replace(elsewhere.Link.URL, "127.0.0.1", "localhost", 1)
	for name, tc := range map[string]struct {
		cfg  config.GatewayFile
		says string
	}{
		"another authority":        {c.gatewayFile(foreign, ""), "is broker.url right, and ca the ca.crt of agentid fleet init?"},
		"a certificate of another": {c.gatewayFile(half, ""), "make one with agentid fleet certificate"},
		"one that ran out":         {c.gatewayFile(old, ""), "make one with agentid fleet certificate"},
		"another cluster":          {c.gatewayFile(c.pair("gw-1"), ", cluster: prod"), `of cluster "prod", the broker of "test"`},
		"not listed":               {c.gatewayFile(c.pair("gw-2"), ""), "fleet.gateways"},
		"another host's name":      {elsewhere, "agentid fleet certificate --broker --host"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := process.StartGateway(ctx, tc.cfg, process.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
			require.ErrorContains(t, err, "refuses this gateway")
			require.ErrorContains(t, err, tc.says)
		})
	}
}

func TestAGatewayIsReadyWithItsLeaseOnly(t *testing.T) {
	c := newCluster(t, "")
	cfg := c.gatewayFile(c.pair("gw-1"), "")
	g, err := process.StartGateway(t.Context(), cfg, process.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
	require.NoError(t, err)
	ready := func() int {
		resp, err := http.Get("http://" + g.HealthAddr() + "/readyz")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Eventually(t, func() bool { return ready() == http.StatusOK }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, c.broker.Close(t.Context()))
	require.Eventually(t, func() bool { return ready() == http.StatusServiceUnavailable }, 10*time.Second, 10*time.Millisecond, "the broker is gone")
	require.NoError(t, g.Close(t.Context()))
	c.broker, err = process.Start(t.Context(), parse(t, t.TempDir(), "broker: {listen: '127.0.0.1:0'}\ngateway: {listen: ['127.0.0.1:0']}\n"), process.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"})
	require.NoError(t, err, "for the clean-up to close")
}
