package observe

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid/internal/httpx"
)

// Requests writes one line and one observation for each request of a server.
type Requests struct {
	component string
	logger    *slog.Logger
	now       func() time.Time
	seconds   *prometheus.HistogramVec
}

// RequestsConfig says where lines and observations go. All fields are required.
type RequestsConfig struct {
	Component string
	Logger    *slog.Logger
	Registry  prometheus.Registerer
	Now       func() time.Time
}

// NewRequests registers agentid_<component>_request_seconds.
func NewRequests(cfg RequestsConfig) (*Requests, error) {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "agentid_" + cfg.Component + "_request_seconds", Help: "Time to answer a request, by method and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"method", "status"})
	if err := cfg.Registry.Register(seconds); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return &Requests{component: cfg.Component, logger: cfg.Logger, now: cfg.Now, seconds: seconds}, nil
}

// Wrap logs what h answers. The line holds the path without its query, and no header.
func (q *Requests) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := q.now()
		seen := &watcher{ResponseWriter: w}
		defer func() {
			took := q.now().Sub(start)
			status := seen.status
			if status == 0 {
				status = http.StatusOK
			}
			q.seconds.WithLabelValues(method(r.Method), strconv.Itoa(status)).Observe(took.Seconds())
			if !q.logger.Enabled(r.Context(), slog.LevelInfo) {
				return
			}
			q.logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String(KeyComponent, q.component), slog.String(KeyRequestID, seen.Header().Get(httpx.HeaderRequestID)),
				slog.String(KeyMethod, method(r.Method)), slog.String(KeyPath, clip(r.URL.Path)),
				slog.Int(KeyStatus, status), slog.Int64(KeyBytes, seen.bytes), slog.Duration(KeyDuration, took),
				slog.String(KeyPeer, httpx.PeerIP(r).String()))
		}()
		h.ServeHTTP(seen, r)
	})
}

// method keeps a peer's invention from becoming a label.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	default:
		return "OTHER"
	}
}

// clip bounds a path that a peer chose.
func clip(path string) string {
	const limit = 512
	if len(path) > limit {
		return path[:limit] + "…"
	}
	return path
}

// watcher notes the status and the size of a response.
type watcher struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *watcher) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watcher) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err //nolint:wrapcheck // an io.Writer passes its error through
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }
