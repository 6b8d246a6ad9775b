package server_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
)

// shared runs fn n times over 32 clients for each processor and says how long one took.
func shared(n int, fn func(i int)) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range 32 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				fn(int(i))
			}
		})
	}
	wg.Wait()
	return time.Since(start) / time.Duration(max(n, 1))
}

// BenchmarkWorkloadGrant is the jwt-bearer grant, end to end, in one process, with warm
// keys and many clients: the workload's token and the proof are checked, the rule chosen,
// policy asked, a token signed, and one transaction written durably. "ratio" is what two
// verifications, one signature and a bare handler take in the same run, to that. The
// client's own signatures are made before.
func BenchmarkWorkloadGrant(b *testing.B) {
	w := newWorld(b)
	p := newPlatform(w)
	job := worker(b)
	token := p.token(nil)
	resp, doc := w.grant(job, token)
	require.Equal(b, http.StatusOK, resp.StatusCode, "%v", doc)
	form := w.tokenCall("grant_type", discovery.GrantJWTBearer, "assertion", token).form
	proofs := make([]string, b.N)
	for i := range proofs {
		proofs[i] = must(dpop.Sign(job.key, dpop.Request{Method: http.MethodPost, URL: w.base + "/acme/oauth2/token", Nonce: w.nonce, Now: w.now()}))
	}
	key := p.Key()
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	require.NoError(b, err)
	keys, err := keyset.New(keyset.Config{Static: public})
	require.NoError(b, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: job.key.Key}, nil)
	require.NoError(b, err)
	body := []byte(doc["access_token"].(string))
	bare := httperr.Handler(slog.New(slog.DiscardHandler), httperr.OAuth, func(rw http.ResponseWriter, r *http.Request) error {
		if _, err := httpx.ParseForm(rw, r, httpx.FormRules{MaxBytes: 64 << 10, MaxFields: 32}); err != nil {
			return err
		}
		if _, err := keys.Verify(r.Context(), token, keyset.Policy()); err != nil {
			return err
		}
		if _, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Expect{Method: r.Method, URL: w.base + "/acme/oauth2/token", Now: w.now()}); err != nil {
			return err
		}
		signed, err := signer.Sign(body)
		if err != nil {
			return err
		}
		_ = httpx.WriteJSON(rw, http.StatusOK, map[string]any{"access_token": signed.FullSerialize(), "token_type": "DPoP"})
		return nil
	})
	var failed atomic.Int64
	b.ResetTimer()
	exchange := shared(b.N, func(i int) {
		if w.handle("/acme/oauth2/token", form, http.Header{"Dpop": {proofs[i]}}) != http.StatusOK {
			failed.Add(1)
		}
	})
	b.StopTimer()
	require.Zero(b, failed.Load())
	floor := shared(b.N, func(i int) {
		r := httptest.NewRequest(http.MethodPost, "/acme/oauth2/token", strings.NewReader(form.Encode()))
		r.Header = http.Header{"Dpop": {proofs[i]}, "Content-Type": {"application/x-www-form-urlencoded"}}
		rec := httptest.NewRecorder()
		if bare.ServeHTTP(rec, r); rec.Code != http.StatusOK {
			failed.Add(1)
		}
	})
	require.Zero(b, failed.Load())
	b.ReportMetric(float64(floor)/float64(exchange), "ratio")
	b.ReportMetric(float64(floor.Nanoseconds()), "floor-ns/op")
}
