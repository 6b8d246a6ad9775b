package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Profile: go test ./gateway -run '^$' -bench EnforcedRead -cpuprofile cpu.prof
// and then: go tool pprof -top cpu.prof

var customer = []byte(`{"id":"cus_1","object":"customer","email":"a@example.com"}`)

// plain is an upstream that costs as little as an upstream can.
func plain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(customer)
}

// bareProxy is httputil.ReverseProxy with a transport of the same settings.
func bareProxy(b *testing.B, upstream string) string {
	b.Helper()
	srv := httptest.NewServer(bareHandler(b, upstream))
	b.Cleanup(srv.Close)
	return srv.URL
}

func bareHandler(b *testing.B, upstream string) http.Handler {
	b.Helper()
	target, err := url.Parse(upstream)
	require.NoError(b, err)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+upstreamKey)
		},
		Transport: &http.Transport{DisableCompression: true, ForceAttemptHTTP2: true, MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, IdleConnTimeout: 60 * time.Second},
	}
}

func benchWorld(b *testing.B) (*world, string) {
	b.Helper()
	w := newWorld(b, options{
		upstream: http.HandlerFunc(plain),
		connector: func(c *wire.Connector) {
			c.AllowBearer, c.BearerLifetime = true, time.Hour
			c.Rates = wire.Rates{TokenPerMinute: 1e9, TokenBurst: 1e8, AgentPerMinute: 1e9, AgentBurst: 1e8}
		},
		config: func(c *gateway.Config) { c.TenantPerMinute, c.TenantBurst = 1e9, 1e8 },
	})
	// The recorder of the tests would count against both sides; leave it out.
	srv := httptest.NewServer(http.HandlerFunc(plain))
	b.Cleanup(srv.Close)
	w.fleet.change(func(c *wire.Connector) { c.Upstream = srv.URL })
	return w, srv.URL
}

// reader sends one allowed read and gives its latency.
type reader func() (time.Duration, error)

func plainReader(client *http.Client, base string, header func() http.Header) reader {
	return func() (time.Duration, error) {
		req, err := http.NewRequest(http.MethodGet, base+"/v1/customers/cus_1", nil)
		if err != nil {
			return 0, err
		}
		req.Header = header()
		start := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, http.ErrNotSupported
		}
		return time.Since(start), nil
	}
}

func bearerHeader(token string) func() http.Header {
	return func() http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
}

func (w *world) unbound(b *testing.B) string {
	b.Helper()
	return w.token(func(c *capability.Claims) { c.Confirmation = capability.Confirmation{} }, w.grant("", "payments:read_customer"))
}

func (w *world) dpopHeader(b *testing.B, token string) func() http.Header {
	b.Helper()
	require.Equal(b, 200, w.send(token, get("/v1/customers/cus_1")).status)
	return func() http.Header {
		proof, err := w.proofs.Sign(dpop.Request{Method: "GET", URL: w.base + "/v1/customers/cus_1", AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now()})
		if err != nil {
			return nil
		}
		return http.Header{"Authorization": {"DPoP " + token}, "Dpop": {proof}}
	}
}

func run(b *testing.B, read reader) {
	b.Helper()
	var mu sync.Mutex
	var all []time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var own []time.Duration
		for pb.Next() {
			d, err := read()
			if err != nil {
				b.Error(err)
				return
			}
			own = append(own, d)
		}
		mu.Lock()
		all = append(all, own...)
		mu.Unlock()
	})
	b.StopTimer()
	b.ReportMetric(float64(percentile(all, 50).Microseconds()), "p50-µs")
	b.ReportMetric(float64(percentile(all, 99).Microseconds()), "p99-µs")
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*p/100)]
}

func BenchmarkBareProxy(b *testing.B) {
	w, upstream := benchWorld(b)
	run(b, plainReader(w.client, bareProxy(b, upstream), func() http.Header { return http.Header{} }))
}

func BenchmarkEnforcedRead(b *testing.B) {
	w, _ := benchWorld(b)
	run(b, plainReader(w.client, w.base, bearerHeader(w.unbound(b))))
}

// BenchmarkEnforcedReadDPoP includes the client's signature of each proof.
func BenchmarkEnforcedReadDPoP(b *testing.B) {
	w, _ := benchWorld(b)
	run(b, plainReader(w.client, w.base, w.dpopHeader(b, w.token(nil, w.grant("", "payments:read_customer")))))
}

// BenchmarkEnforcedOverBare measures both in turns in one run: the ratio of throughputs
// at full load, and what the gateway adds to the latency of one request at a time.
func BenchmarkEnforcedOverBare(b *testing.B) {
	w, upstream := benchWorld(b)
	bare := plainReader(w.client, bareProxy(b, upstream), func() http.Header { return http.Header{} })
	enforced := plainReader(w.client, w.base, bearerHeader(w.unbound(b)))
	const batch, workers = 400, 8
	load := func(read reader) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range batch / workers {
					if _, err := read(); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	var single [2][]time.Duration
	var spent [2]time.Duration
	load(bare)
	load(enforced)
	b.ResetTimer()
	for b.Loop() {
		for i, read := range []reader{bare, enforced} {
			spent[i] += load(read)
			for range batch / 4 {
				d, err := read()
				if err != nil {
					b.Fatal(err)
				}
				single[i] = append(single[i], d)
			}
		}
	}
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "enforced/bare")
	for _, p := range []int{50, 99} {
		added := percentile(single[1], p) - percentile(single[0], p)
		b.ReportMetric(float64(added.Microseconds()), map[int]string{50: "added-p50-µs", 99: "added-p99-µs"}[p])
	}
}
