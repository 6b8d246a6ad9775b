// A service that guards itself by asking AgentID about each token (RFC 7662).
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// guard lets a request through when its token is live now and covers the operation.
func guard(operation string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		ask, _ := http.NewRequestWithContext(r.Context(), http.MethodPost, os.Getenv("INTROSPECT_URL"), strings.NewReader(url.Values{"token": {token}}.Encode()))
		ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		ask.SetBasicAuth(url.QueryEscape(os.Getenv("CLIENT_ID")), url.QueryEscape(os.Getenv("CLIENT_SECRET")))
		resp, err := http.DefaultClient.Do(ask)
		if err != nil || resp.StatusCode != http.StatusOK {
			http.Error(w, "cannot ask the broker", http.StatusServiceUnavailable) // no answer is a no
			return
		}
		defer resp.Body.Close()
		var t struct {
			Active       bool
			Scope        string
			Confirmation any `json:"cnf"` // bound to a key: refuse it as a Bearer token
		}
		if json.NewDecoder(resp.Body).Decode(&t) != nil || !t.Active || t.Confirmation != nil || !slices.Contains(strings.Fields(t.Scope), operation) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, "refused", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func main() {
	http.HandleFunc("GET /report", guard("payments:read_charge", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "the report")
	}))
	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}
