package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/agentid-dev/agentid/internal/httpx"
)

// UpstreamKey is the credential that the upstream takes, and that no agent sees.
const UpstreamKey = "sk_test_of_the_load_test"

// upstreamReady begins the line that says where the upstream listens.
const upstreamReady = "upstream on "

// Upstream is a payments API without a memory: every customer and charge exists, every
// charge has a million left, and every refund succeeds.
func Upstream() http.Handler {
	var refunds atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/customers/{id}", guarded(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"id":"`+r.PathValue("id")+`","object":"customer","email":"a@example.com","name":"A customer"}`)
	}))
	mux.HandleFunc("GET /v1/charges/{id}", guarded(func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id") // ch_x is of cus_x
		_, _ = io.WriteString(w, `{"id":"`+id+`","object":"charge","customer":"cus_`+id[min(3, len(id)):]+
			`","currency":"usd","amount":100000000,"amount_refunded":0}`)
	}))
	mux.HandleFunc("POST /v1/invoices/create_preview", guarded(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"object":"invoice","currency":"usd","status":"draft"}`)
	}))
	mux.HandleFunc("POST /v1/refunds", guarded(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"id":"re_`+strconv.FormatInt(refunds.Add(1), 10)+`","object":"refund","status":"succeeded"}`)
	}))
	return mux
}

// guarded lets pass what carries the connector's credential.
func guarded(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = jsonType
		if r.Header.Get("Authorization") != "Bearer "+UpstreamKey {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"message":"Invalid API Key provided."}}`)
			return
		}
		answer(w, r)
	}
}

var jsonType = []string{"application/json"}

// ServeUpstream serves the upstream on a loopback address until the context ends, and
// says on out where it listens.
func ServeUpstream(ctx context.Context, addr string, out io.Writer) error {
	return serveOn(ctx, addr, out, upstreamReady, Upstream())
}

func serveOn(ctx context.Context, addr string, out io.Writer, ready string, h http.Handler) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() { //nolint:forcetypeassert // a TCP listener
		return errors.Join(errors.New("only loopback addresses are served"), l.Close())
	}
	s := httpx.NewServer("", h, slog.New(slog.DiscardHandler))
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	if _, err := fmt.Fprintln(out, ready+l.Addr().String()); err != nil {
		return errors.Join(err, s.Close())
	}
	select {
	case <-ctx.Done():
		return s.Close() //nolint:wrapcheck // a closed listener
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
}
