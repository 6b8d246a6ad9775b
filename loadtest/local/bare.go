package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// BareReady begins the line that says where the bare server listens.
const BareReady = "bare on "

// ServeBare serves, on a loopback address until the context ends, what AgentID is held
// against: everything is proxied to the upstream by httputil.ReverseProxy with the
// gateway's transport; "/bare/token" checks two signatures and makes one, and
// "/bare/introspect" looks a token up in a map.
func ServeBare(ctx context.Context, addr, upstream string, out io.Writer) error {
	target, err := url.Parse(upstream)
	if err != nil || target.Host == "" {
		return errors.New("upstream: want scheme://host:port")
	}
	b := &bare{tokens: map[string]bool{}}
	mux := http.NewServeMux()
	mux.Handle("/", bareProxy(target))
	mux.HandleFunc("POST /bare/token", b.token)
	mux.HandleFunc("POST /bare/remember", b.remember)
	mux.HandleFunc("POST /bare/introspect", b.introspect)
	return serveOn(ctx, addr, out, BareReady, mux)
}

// bareProxy is httputil.ReverseProxy with a transport of the gateway's settings.
func bareProxy(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+UpstreamKey)
		},
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConns: 1024, MaxIdleConnsPerHost: 256,
			IdleConnTimeout: time.Minute, ResponseHeaderTimeout: 30 * time.Second,
		},
	}
}

type bare struct {
	mu     sync.RWMutex
	tokens map[string]bool
	once   sync.Once
	signer jose.Signer
}

// token is the least that a mint must do: check the assertion and the proof, sign.
func (b *bare) token(w http.ResponseWriter, r *http.Request) {
	b.once.Do(func() {
		if _, signing, err := newKey(); err == nil {
			b.signer, _ = jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("at+jwt")) // an Ed25519 key
		}
	})
	proof, err := jose.ParseSignedCompact(r.Header.Get("DPoP"), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || r.ParseForm() != nil || b.signer == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := proof.Signatures[0].Protected.JSONWebKey
	assertion, err := jose.ParseSignedCompact(r.PostForm.Get("client_assertion"), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || key == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if _, err := proof.Verify(key); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	claims, err := assertion.Verify(key)
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	signed, err := b.signer.Sign(append(claims, r.PostForm.Get("authorization_details")...))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = jsonType
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": compact, "token_type": "DPoP", "expires_in": 300})
}

func (b *bare) remember(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens[r.PostForm.Get("token")] = true
}

func (b *bare) introspect(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.mu.RLock()
	active := b.tokens[r.PostForm.Get("token")]
	b.mu.RUnlock()
	w.Header()["Content-Type"] = jsonType
	_ = json.NewEncoder(w).Encode(map[string]any{"active": active})
}
