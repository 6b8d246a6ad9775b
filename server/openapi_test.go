package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/pb33f/libopenapi"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/admin"
)

// pattern drops chi's regular expressions from a route's parameters.
var pattern = regexp.MustCompile(`\{([a-z_]+):[^}]*\}`)

// documented are "METHOD path" of every operation of an OpenAPI 3.1 document.
func documented(t *testing.T, text []byte) []string {
	t.Helper()
	doc, err := libopenapi.NewDocument(text)
	require.NoError(t, err)
	require.Equal(t, "3.1.0", doc.GetVersion())
	model, err := doc.BuildV3Model()
	require.NoError(t, err)
	var out []string
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			require.NotNil(t, op.Responses, "%s %s", method, path)
			require.NotEmpty(t, op.Summary, "%s %s", method, path)
			out = append(out, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(out)
	return out
}

func routed(t *testing.T, r chi.Routes) []string {
	t.Helper()
	var out []string
	require.NoError(t, chi.Walk(r, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		out = append(out, method+" "+pattern.ReplaceAllString(route, "{$1}"))
		return nil
	}))
	slices.Sort(out)
	return out
}

// The document that is served, the administration's part included, names every route and
// no other.
func TestOpenAPIDescribesExactlyTheRoutes(t *testing.T) {
	w := newWorld(t)
	service, err := admin.New(admin.Config{
		Ledger: w.ledger, Graph: w.engine.Permissions(), Schema: w.engine.Schema(), Signer: w.broker.Signer(),
		Revoker: w.broker.Revoker(), Fleet: w.broker.Fleet(), Hub: w.broker.Hub(), Agents: w.broker.Agents(), Kinds: connectors.Builtin(), Refusals: w.broker.Refusals(),
	})
	require.NoError(t, err)
	router, err := w.broker.Handler(server.Mount{Path: server.PathAdmin, Routes: service.Routes, OpenAPI: admin.OpenAPI})
	require.NoError(t, err)
	rec := httptest.NewRecorder()
	router.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.yaml", nil))
	require.Equal(t, 200, rec.Code)
	require.Equal(t, "application/yaml", rec.Header().Get("Content-Type"))
	routes := routed(t, router)
	require.Equal(t, routes, documented(t, rec.Body.Bytes()))
	require.Greater(t, len(routes), 20)

	// Without the administration its paths are not there either.
	_, doc := w.get("/openapi.yaml")
	text, _ := doc[""].(string)
	require.Equal(t, routed(t, w.router), documented(t, []byte(text)))
}

func TestDocumentsMerge(t *testing.T) {
	w := newWorld(t)
	extra := []byte("paths:\n  /admin/v1/x:\n    get: {summary: x, responses: {\"200\": {description: ok}}}\ncomponents:\n  schemas:\n    X: {type: object}\n")
	r, err := w.broker.Handler(server.Mount{Path: "/admin/v1", OpenAPI: extra, Routes: func(r chi.Router) {
		r.Get("/x", func(http.ResponseWriter, *http.Request) {})
	}})
	require.NoError(t, err)
	merged, err := server.OpenAPI(extra)
	require.NoError(t, err)
	require.Equal(t, routed(t, r), documented(t, merged))

	for _, clash := range []string{
		"paths:\n  /healthz:\n    get: {summary: other}\n",
		"components:\n  schemas:\n    Problem: {type: string}\n",
		"paths: [",
	} {
		_, err := w.broker.Handler(server.Mount{Path: "/admin/v1", OpenAPI: []byte(clash), Routes: func(chi.Router) {}})
		require.Error(t, err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	down := errors.New("secret detail")
	var fail error
	w := newWorld(t, func(c *server.Config) {
		c.Checks = []server.Check{
			{Name: "ledger", Ask: func(context.Context) error { return nil }},
			{Name: "graph", Ask: func(context.Context) error { return fail }},
		}
	})
	for _, path := range []string{"/healthz", "/readyz"} {
		resp, doc := w.get(path)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, map[string]any{"status": "ok"}, doc)
	}
	fail = down
	resp, doc := w.get("/readyz")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "not_ready", doc["reason"])
	require.Equal(t, "graph", doc["field"])
	require.NotContains(t, doc["detail"], "secret")
	resp, _ = w.get("/healthz")
	require.Equal(t, 200, resp.StatusCode)
}
