package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
)

// handle runs one request through the broker's handler.
func (w *world) handle(path string, form url.Values, header http.Header) int {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header = header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.router.ServeHTTP(rec, r)
	return rec.Code
}

func (w *world) mintRequest() (url.Values, http.Header) {
	form := w.tokenCall("client_assertion_type", clientauth.AssertionType, "client_assertion", w.assertion(w.agent, w.base+"/acme")).form
	proof := must(dpop.Sign(w.agent.key, dpop.Request{
		Method: http.MethodPost, URL: w.base + "/acme/oauth2/token", Nonce: w.nonce, Now: w.now(),
	}))
	return form, http.Header{"Dpop": {proof}}
}

// One token after another: two signatures checked, policy asked, one made, one fsync. The
// client's two signatures are part of it.
func BenchmarkMint(b *testing.B) {
	w := newWorld(b)
	w.mint(w.agent)
	for b.Loop() {
		form, header := w.mintRequest()
		if code := w.handle("/acme/oauth2/token", form, header); code != http.StatusOK {
			b.Fatal(code)
		}
	}
}

// Many clients at once share an fsync.
func BenchmarkMintParallel(b *testing.B) {
	w := newWorld(b)
	w.mint(w.agent)
	var failed atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			form, header := w.mintRequest()
			if w.handle("/acme/oauth2/token", form, header) != http.StatusOK {
				failed.Add(1)
			}
		}
	})
	require.Zero(b, failed.Load())
}

// A service asks about a good token: one signature checked, the graph asked.
func BenchmarkIntrospect(b *testing.B) {
	w := newWorld(b)
	token, _ := w.mint(w.agent)
	form := url.Values{"token": {token}}
	for b.Loop() {
		if code := w.handle("/acme/oauth2/introspect", form, basic("connector:acme/stripe", w.secret)); code != http.StatusOK {
			b.Fatal(code)
		}
	}
}
