package gateway_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/agentid-dev/agentid/capability"
)

// BenchmarkMutualTLS measures, in turns in one run, allowed reads over mutual TLS with a
// token that is bound to the client's certificate, against the bare proxy behind the same
// TLS: the ratio of throughputs, and of CPU. Client and upstream are in the process; what
// they and TLS cost is measured by asking the upstream's handler directly over the same
// TLS, and taken off both sides of the CPU ratio.
func BenchmarkMutualTLS(b *testing.B) {
	w, upstream := benchWorld(b)
	own, server := selfSigned(b), selfSigned(b)
	sum := sha256.Sum256(own.Leaf.Raw)
	token := w.token(func(c *capability.Claims) {
		c.Confirmation = capability.Confirmation{X5T: base64.RawURLEncoding.EncodeToString(sum[:])}
	}, w.grant("", "payments:read_customer"))
	base, err := url.Parse(w.base)
	require.NoError(b, err)

	enforced := secureReader(b, w.gateway.Server(""), w.gateway.Listener, own, server, base.Host, token)
	plainly := func(l net.Listener) net.Listener { return l }
	bare := secureReader(b, &http.Server{Handler: bareHandler(b, upstream), ReadHeaderTimeout: time.Minute}, plainly, own, server, base.Host, token)
	direct := secureReader(b, &http.Server{Handler: http.HandlerFunc(plain), ReadHeaderTimeout: time.Minute}, plainly, own, server, base.Host, token)

	sides := []reader{direct, bare, enforced}
	var took, used [3]time.Duration
	for _, read := range sides {
		batch(b, read, new(time.Duration), new(time.Duration))
	}
	b.ResetTimer()
	for b.Loop() {
		for _, i := range []int{0, 1, 2, 2, 1, 0} {
			batch(b, sides[i], &took[i], &used[i])
		}
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(2*b.N*perBatch) }
	b.ReportMetric(float64(took[1])/float64(took[2]), "throughput/bare")
	b.ReportMetric(float64(used[2]-used[0])/float64(used[1]-used[0]), "CPU/bare")
	b.ReportMetric(each(used[0]), "direct-CPU-µs")
	b.ReportMetric(each(used[1]), "bare-CPU-µs")
	b.ReportMetric(each(used[2]), "enforced-CPU-µs")
}

const perBatch = 400

// batch sends by several at once and adds up how long it took and what CPU the process used.
func batch(b *testing.B, read reader, took, used *time.Duration) {
	b.Helper()
	before := ownCPU(b)
	begun := time.Now()
	const workers = 8
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range perBatch / workers {
				if _, err := read(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	*took += time.Since(begun)
	*used += ownCPU(b) - before
}

// ownCPU is what this process has used so far.
func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var r unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// secureReader serves s over TLS that asks for a client certificate, and reads from it
// with own.
func secureReader(b *testing.B, s *http.Server, guard func(net.Listener) net.Listener, own, server tls.Certificate, host, token string) reader {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s.ErrorLog = log.New(io.Discard, "", 0)
	go func() {
		_ = s.Serve(guard(tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		})))
	}()
	b.Cleanup(func() { _ = s.Close() })
	roots := tls.Config{RootCAs: pool(server), Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &roots, MaxIdleConnsPerHost: 64, DisableCompression: true}}
	b.Cleanup(client.CloseIdleConnections)
	return func() (time.Duration, error) {
		begun := time.Now()
		req, err := http.NewRequest(http.MethodGet, "https://"+l.Addr().String()+"/v1/customers/cus_1", nil)
		if err != nil {
			return 0, err
		}
		req.Host = host
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, http.ErrNotSupported
		}
		return time.Since(begun), nil
	}
}
