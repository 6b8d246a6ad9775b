// Command zitadelop is the example OpenID provider of github.com/zitadel/oidc on
// loopback, told what it is by lines of JSON on its standard input: users, clients,
// signing keys. Each line replaces all of that, on the same port, and is answered by
// {"issuer": "...", "port": N}. It ends with its standard input. For tests only.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
)

type user struct {
	Subject       string   `json:"sub"`
	Username      string   `json:"preferred_username"`
	Password      string   `json:"password"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups"`
}

type config struct {
	Port    int                `json:"port"`
	Keys    jose.JSONWebKeySet `json:"jwks"`
	Users   []user             `json:"users"`
	Clients []struct {
		ID        string   `json:"client_id"`
		Secret    string   `json:"client_secret"`
		Redirects []string `json:"redirect_uris"`
	} `json:"clients"`
}

type answer struct {
	Issuer string `json:"issuer"`
	Port   int    `json:"port"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var handler atomic.Pointer[http.Handler]
	var is answer
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var c config
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			return err
		}
		if is.Issuer == "" {
			listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.Port))
			if err != nil {
				return err
			}
			is = answer{Issuer: fmt.Sprintf("http://%s/", listener.Addr()), Port: listener.Addr().(*net.TCPAddr).Port}
			server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				(*handler.Load()).ServeHTTP(w, r)
			})}
			defer func() { _ = server.Close() }()
			go func() { _ = server.Serve(listener) }()
		}
		s, err := newStorage(c)
		if err != nil {
			return err
		}
		h := http.Handler(exampleop.SetupServer(is.Issuer, s, logger, false))
		handler.Store(&h)
		if err := json.NewEncoder(os.Stdout).Encode(is); err != nil {
			return err
		}
	}
	return in.Err()
}
