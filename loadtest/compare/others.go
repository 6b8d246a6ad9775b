package compare

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/loadtest/proc"
)

const (
	othersIssuer   = "https://id.example.com"
	othersAudience = "https://api.example.com"
	othersHost     = "api.example.com"
)

// others makes the requests of the agents of a stack that takes ordinary JWTs.
type others struct {
	agents int
	revoke func(ctx context.Context, token string) error
	signer jose.Signer
	jwks   string
	warm   [][]byte
}

// newOthers makes a key and a warm token for each agent. revoke takes a token's id back.
func newOthers(agents int, revoke func(context.Context, string) error) (*others, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	o := &others{agents: agents, revoke: revoke}
	o.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}})
	if err != nil {
		return nil, fmt.Errorf("encode keys: %w", err)
	}
	o.jwks = string(set)
	for i := range agents {
		request, err := o.request(i, o.claims(i, time.Hour))
		if err != nil {
			return nil, err
		}
		o.warm = append(o.warm, request)
	}
	return o, nil
}

func (o *others) claims(agent int, life time.Duration) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": othersIssuer, "aud": othersAudience, "sub": "alice", "client_id": "agent-" + strconv.Itoa(agent), "jti": rand.Text(),
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(life).Unix(), "scope": "read",
		"agent": strconv.Itoa(agent), "customer": "cus_" + strconv.Itoa(agent),
	}
}

func (o *others) request(customer int, claims map[string]any) ([]byte, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	signed, err := o.signer.Sign(payload)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	compact, err := signed.CompactSerialize()
	return message(http.MethodGet, "/v1/customers/cus_"+strconv.Itoa(customer), othersHost, "", "Authorization: Bearer "+compact), err //nolint:wrapcheck // a signed object
}

func (o *others) good(context.Context) ([]byte, error) { return o.warm[0], nil }

func (o *others) forbidden(context.Context) ([]byte, error) {
	return o.request(1, o.claims(0, time.Hour))
}

func (o *others) expired(context.Context) ([]byte, error) {
	return o.request(0, o.claims(0, -time.Second))
}

func (o *others) misdirected(context.Context) ([]byte, error) {
	c := o.claims(0, time.Hour)
	c["aud"] = "https://other.example.com"
	return o.request(0, c)
}

func (o *others) revoked(ctx context.Context) ([]byte, error) {
	c := o.claims(0, time.Hour)
	request, err := o.request(0, c)
	if err != nil || o.revoke == nil {
		return request, err
	}
	id, _ := c["jti"].(string)
	return request, o.revoke(ctx, id)
}

// stolen is bound to a key, as RFC 9449 says, and sent without a proof of it.
func (o *others) stolen(context.Context) ([]byte, error) {
	c := o.claims(0, time.Hour)
	c["cnf"] = map[string]string{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
	return o.request(0, c)
}

func (o *others) reads(context.Context, int) ([][]byte, error) { return o.warm, nil }

// opaPolicy is the least that answers the probes: the token, the operation, revocation,
// the agent, and what its type and its person may read.
const opaPolicy = `package gate

allow if {
	input.method == "GET"
	[valid, _, claims] := io.jwt.decode_verify(input.token, {"cert": data.jwks, "alg": "EdDSA", "iss": data.issuer, "aud": data.audience})
	valid
	claims.exp
	input.path == concat("", ["/v1/customers/", claims.customer])
	not data.revoked[claims.jti]
	agent := data.agents[claims.agent]
	agent.live
	data.readers[concat(":", ["agent_type", agent.type])]
	data.readers[concat(":", ["principal", claims.sub])]
}
`

// startOPA runs OPA with the policy and its data in memory.
func startOPA(ctx context.Context, e *environment, addr string, o *others) (*proc.Process, error) {
	agents := map[string]any{}
	for i := range o.agents {
		agents[strconv.Itoa(i)] = map[string]any{"type": "worker", "live": true}
	}
	data, err := json.Marshal(map[string]any{
		"jwks": o.jwks, "issuer": othersIssuer, "audience": othersAudience, "agents": agents,
		"readers": map[string]bool{"agent_type:worker": true, "principal:alice": true}, "revoked": map[string]bool{},
	})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	policy, err := e.write("gate.rego", opaPolicy)
	if err != nil {
		return nil, err
	}
	file, err := e.write("data.json", string(data))
	if err != nil {
		return nil, err
	}
	p, err := proc.Start(ctx, proc.Spec{Name: "opa", Command: []string{
		e.peer("opa"), "run", "--server", "--addr", addr, "--log-level", "error", "--disable-telemetry", policy, file,
	}})
	if err != nil {
		return nil, err //nolint:wrapcheck // names the process
	}
	return p, untilOpen(ctx, p, addr)
}

// revokeInOPA puts a token's id into OPA's data.
func revokeInOPA(addr string) func(context.Context, string) error {
	return func(ctx context.Context, token string) error {
		return call(ctx, http.MethodPut, "http://"+addr+"/v1/data/revoked/"+token, "true")
	}
}

func revokeByAdapter(addr *string) func(context.Context, string) error {
	return func(ctx context.Context, token string) error {
		return call(ctx, http.MethodPost, "http://"+*addr+"/revoke/"+token, "")
	}
}

func call(ctx context.Context, method, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err //nolint:wrapcheck // our own
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answered %d: %w", url, resp.StatusCode, err)
	}
	return nil
}

// adapterReady begins the line that says where the adapter listens.
const adapterReady = "adapter on "

// startAdapter runs the adapter in front of a backend, which it fills.
func startAdapter(ctx context.Context, e *environment, backend, addr, key string, o *others) (string, *proc.Process, error) {
	jwks, err := e.write(backend+"-jwks.json", o.jwks)
	if err != nil {
		return "", nil, err
	}
	p, err := proc.Start(ctx, proc.Spec{Name: "adapter", Ready: adapterReady, Command: []string{
		e.peer("adapter"), "-backend", backend, "-addr", addr, "-key", key, "-jwks", jwks,
		"-issuer", othersIssuer, "-audience", othersAudience, "-agents", strconv.Itoa(o.agents),
	}})
	if err != nil {
		return "", nil, err //nolint:wrapcheck // names the process
	}
	return p.Line[strings.Index(p.Line, adapterReady)+len(adapterReady):], p, nil
}

// startOpenFGA runs OpenFGA over SQLite.
func startOpenFGA(ctx context.Context, e *environment, addr string) (*proc.Process, error) {
	uri := "file:" + filepath.Join(e.dir, "openfga.db")
	if _, err := proc.Output(ctx, e.peer("openfga"), "migrate", "--datastore-engine", "sqlite", "--datastore-uri", uri); err != nil {
		return nil, fmt.Errorf("openfga migrate: %w", err)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err //nolint:wrapcheck // our own
	}
	p, err := proc.Start(ctx, proc.Spec{Name: "openfga", Command: []string{
		e.peer("openfga"), "run", "--datastore-engine", "sqlite", "--datastore-uri", uri, "--grpc-addr", "127.0.0.1:" + port,
		"--http-enabled=false", "--playground-enabled=false", "--metrics-enabled=false", "--log-level", "error",
	}})
	if err != nil {
		return nil, err //nolint:wrapcheck // names the process
	}
	return p, untilOpen(ctx, p, addr)
}

const spiceKey = "of-the-comparison"

// startSpiceDB runs SpiceDB over its own memory.
func startSpiceDB(ctx context.Context, e *environment, addr string) (*proc.Process, error) {
	p, err := proc.Start(ctx, proc.Spec{Name: "spicedb", Command: []string{
		e.peer("spicedb"), "serve", "--datastore-engine", "memory", "--grpc-preshared-key", spiceKey, "--grpc-addr", addr,
		"--http-enabled=false", "--metrics-enabled=false", "--telemetry-endpoint=", "--skip-release-check", "--log-level", "error",
	}})
	if err != nil {
		return nil, err //nolint:wrapcheck // names the process
	}
	return p, untilOpen(ctx, p, addr)
}

// untilOpen waits until an address takes connections.
func untilOpen(ctx context.Context, p *proc.Process, addr string) error {
	const within, every = 30 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close() //nolint:wrapcheck // nothing was sent
		}
		select {
		case <-p.Exited():
			return fmt.Errorf("%s ended:\n%s", p.Name, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w\n%s", p.Name, ctx.Err(), p.Tail())
		case <-time.After(every):
		}
	}
}

// environment is where stacks find programs and keep files.
type environment struct {
	dir, peers string
}

func (e *environment) peer(name string) string { return filepath.Join(e.peers, name) }

func (e *environment) write(name, text string) (string, error) {
	path := filepath.Join(e.dir, name)
	const ownerOnly = 0o600
	if err := os.WriteFile(path, []byte(text), ownerOnly); err != nil {
		return "", fmt.Errorf("compare: %w", err)
	}
	return path, nil
}
