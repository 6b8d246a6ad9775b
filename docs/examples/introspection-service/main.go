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

// allowed reports whether the request's token is good now and covers the operation.
func allowed(r *http.Request, operation string) bool {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	form := strings.NewReader(url.Values{"token": {token}}.Encode())
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodPost, os.Getenv("INTROSPECT_URL"), form)
	if err != nil {
		return false
	}
	ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ask.SetBasicAuth(url.QueryEscape(os.Getenv("CLIENT_ID")), url.QueryEscape(os.Getenv("CLIENT_SECRET")))
	answer, err := http.DefaultClient.Do(ask)
	if err != nil {
		return false // no answer is a no
	}
	defer func() { _ = answer.Body.Close() }()
	var t struct {
		Active bool
		Scope  string
		Cnf    any // set: the token is bound to a key, and of no use as a Bearer token
	}
	return json.NewDecoder(answer.Body).Decode(&t) == nil && t.Active && t.Cnf == nil && slices.Contains(strings.Fields(t.Scope), operation)
}

func main() {
	http.HandleFunc("GET /report", func(w http.ResponseWriter, r *http.Request) {
		if !allowed(r, "payments:read_charge") {
			http.Error(w, "refused", http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintln(w, "the report")
	})
	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}
