// Command adapter is what people put between nginx and a relationship store: it verifies
// the token and asks the store, for nginx's auth_request.
//
// It owns as much as it takes to answer as such adapters do: signature, issuer, audience
// and expiry of the token, and four relationships in one bulk call. It is measured beside
// AgentID and is no part of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// store is a relationship store with the small model of this comparison.
type store interface {
	// allowed asks whether all of may hold and none of mayNot does, in one call.
	allowed(ctx context.Context, q question) (bool, error)
	revoke(ctx context.Context, token string) error
}

// question is one read of one customer.
type question struct{ token, agent, principal, account string }

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var (
		listen  = flag.String("listen", "127.0.0.1:0", "where nginx asks")
		backend = flag.String("backend", "", "openfga or spicedb")
		addr    = flag.String("addr", "", "the backend's gRPC address")
		key     = flag.String("key", "", "the backend's preshared key")
		jwks    = flag.String("jwks", "", "file with the issuer's public keys")
		issuer  = flag.String("issuer", "", "the token's issuer")
		aud     = flag.String("audience", "", "the token's audience")
		agents  = flag.Int("agents", 1, "how many agents may read")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	verify, err := newVerifier(*jwks, *issuer, *aud)
	if err != nil {
		return err
	}
	var s store
	switch *backend {
	case "openfga":
		s, err = newOpenFGA(ctx, *addr, *agents)
	case "spicedb":
		s, err = newSpiceDB(ctx, *addr, *key, *agents)
	default:
		err = fmt.Errorf("-backend %q: want openfga or spicedb", *backend)
	}
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /check", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(check(r, verify, s)) })
	mux.HandleFunc("POST /revoke/{token}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.revoke(r.Context(), r.PathValue("token")); err != nil {
			log.Print(err)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { <-ctx.Done(); _ = server.Close() }()
	fmt.Println("adapter on " + l.Addr().String())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// check is one question of nginx: 204, 401 or 403.
func check(r *http.Request, verify *verifier, s store) int {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return http.StatusUnauthorized
	}
	c, err := verify.token(raw)
	if err != nil {
		return http.StatusUnauthorized
	}
	customer, ok := strings.CutPrefix(r.Header.Get("X-Original-URI"), "/v1/customers/")
	if !ok || r.Header.Get("X-Original-Method") != http.MethodGet || customer != c.Customer {
		return http.StatusForbidden
	}
	allowed, err := s.allowed(r.Context(), question{token: c.ID, agent: c.Agent, principal: c.Subject, account: "stripe"})
	switch {
	case err != nil:
		log.Print(err)
		return http.StatusInternalServerError
	case !allowed:
		return http.StatusForbidden
	}
	return http.StatusNoContent
}
