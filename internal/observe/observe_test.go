package observe_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/observe"
)

func TestRequestLinesHoldNoSecret(t *testing.T) {
	var out bytes.Buffer
	logger, err := observe.NewLogger(&out, "json", "info")
	require.NoError(t, err)
	reg, err := observe.NewRegistry("test")
	require.NoError(t, err)
	requests, err := observe.NewRequests(observe.RequestsConfig{Component: "gateway", Logger: logger, Registry: reg, Now: time.Now})
	require.NoError(t, err)
	h := observe.Traced("gateway", requests.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	})))
	r := httptest.NewRequest(http.MethodPost, "/v1/refunds?access_token=hunter2", strings.NewReader("hunter2"))
	r.Header.Set("Authorization", "DPoP hunter2")
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.NotContains(t, out.String(), "hunter2")
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "/v1/refunds", line[observe.KeyPath])
	require.EqualValues(t, http.StatusTeapot, line[observe.KeyStatus])

	w := httptest.NewRecorder()
	observe.MetricsHandler(reg, logger).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, w.Body.String(), `agentid_gateway_request_seconds_count{method="POST",status="418"} 1`)
	require.Contains(t, w.Body.String(), `agentid_build_info{version="test"} 1`)
}

func TestLoggerRedactsSecretsAndRefusesUnknownSettings(t *testing.T) {
	var out bytes.Buffer
	logger, err := observe.NewLogger(&out, "text", "debug")
	require.NoError(t, err)
	logger.Info("x", "key", agentid.NewSecret("hunter2"))
	require.NotContains(t, out.String(), "hunter2")
	_, err = observe.NewLogger(&out, "xml", "info")
	require.Error(t, err)
	_, err = observe.NewLogger(&out, "json", "loud")
	require.Error(t, err)
}

func TestTracesReachTheCollector(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.Path }))
	defer collector.Close()
	stop, err := observe.Tracing(t.Context(), collector.URL+"/v1/traces", "test")
	require.NoError(t, err)
	observe.Traced("broker", http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	require.NoError(t, stop(t.Context()))
	require.Equal(t, "/v1/traces", <-got)

	stop, err = observe.Tracing(t.Context(), "", "test")
	require.NoError(t, err)
	require.NoError(t, stop(t.Context()))
}

func TestProfilesShowNoValues(t *testing.T) {
	h := observe.ProfileHandler()
	ask := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	require.Equal(t, http.StatusOK, ask("/debug/pprof/goroutine"))
	require.Equal(t, http.StatusOK, ask("/debug/pprof/allocs"))
	for _, path := range []string{
		"/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/cmdline", "/debug/pprof/trace", "/debug/pprof/symbol", "/debug/pprof/", "/debug/vars",
	} {
		require.Equal(t, http.StatusNotFound, ask(path), path)
	}
}
