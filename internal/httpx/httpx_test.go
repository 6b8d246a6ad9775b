package httpx_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httpx"
)

func formRequest(t *testing.T, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth2/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

var rules = httpx.FormRules{MaxBytes: 100, MaxFields: 4, Repeatable: []string{"resource"}}

func TestFormAllows(t *testing.T) {
	r := formRequest(t, "grant_type=client_credentials&scope=a+b%20c&resource=x&resource=y")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	f, err := httpx.ParseForm(nil, r, rules)
	require.NoError(t, err)
	require.Equal(t, "client_credentials", f.Get("grant_type"))
	require.Equal(t, "a b c", f.Get("scope"))
	require.Equal(t, []string{"x", "y"}, f.All("resource"))
	require.Empty(t, f.Get("absent"))
}

func TestFormEmptyValueIsOmitted(t *testing.T) {
	f, err := httpx.ParseForm(nil, formRequest(t, "scope=&resource="), rules)
	require.NoError(t, err)
	require.Empty(t, f.Get("scope"))
	require.Empty(t, f.All("resource"))
}

func TestFormRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body, kind, url string
		reason, field   string
		k               agentid.Kind
	}{
		"repeated":               {body: "scope=a&scope=b", reason: "parameter_repeated", field: "scope", k: agentid.KindInvalid},
		"repeated, one is empty": {body: "scope=&scope=b", reason: "parameter_repeated", field: "scope", k: agentid.KindInvalid},
		"repeated by escape":     {body: "scope=a&s%63ope=b", reason: "parameter_repeated", field: "scope", k: agentid.KindInvalid},
		"semicolon":              {body: "a=1;b=2", reason: "form_malformed", k: agentid.KindInvalid},
		"bad escape":             {body: "a=%zz", reason: "form_malformed", k: agentid.KindInvalid},
		"NUL":                    {body: "a=%00", reason: "form_malformed", k: agentid.KindInvalid},
		"control in name":        {body: "a%0a=1", reason: "form_malformed", k: agentid.KindInvalid},
		"not UTF-8":              {body: "a=%ff", reason: "form_malformed", k: agentid.KindInvalid},
		"no name":                {body: "=1", reason: "form_malformed", k: agentid.KindInvalid},
		"empty pair":             {body: "a=1&&b=2", reason: "form_malformed", k: agentid.KindInvalid},
		"too many":               {body: "a=1&b=1&c=1&d=1&e=1", reason: "form_too_many", k: agentid.KindInvalid},
		"too large":              {body: "a=" + strings.Repeat("x", 100), reason: "body_too_large", k: agentid.KindTooLarge},
		"content type":           {body: "a=1", kind: "text/plain", reason: "unsupported_media_type", field: "Content-Type", k: agentid.KindInvalid},
		"JSON":                   {body: "{}", kind: "application/json", reason: "unsupported_media_type", field: "Content-Type", k: agentid.KindInvalid},
		"charset":                {body: "a=1", kind: "application/x-www-form-urlencoded; charset=utf-16", reason: "unsupported_media_type", field: "Content-Type", k: agentid.KindInvalid},
		"query":                  {body: "a=1", url: "/oauth2/token?client_id=x", reason: "invalid_request", field: "query", k: agentid.KindInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			r := formRequest(t, c.body)
			if c.url != "" {
				r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader(c.body))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			_, err := httpx.ParseForm(nil, r, rules)
			e := agentid.AsError(err)
			require.Equal(t, c.reason, e.Reason)
			require.Equal(t, c.field, e.Field)
			require.Equal(t, c.k, e.Kind)
		})
	}
}

func TestReadBodyBoundsAnUndeclaredLength(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(strings.NewReader(strings.Repeat("x", 11))))
	r.ContentLength = -1
	_, err := httpx.ReadBody(nil, r, 10)
	require.Equal(t, agentid.KindTooLarge, agentid.KindOf(err))

	r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", io.MultiReader(strings.NewReader("0123456789")))
	r.ContentLength = -1
	body, err := httpx.ReadBody(nil, r, 10)
	require.NoError(t, err)
	require.Len(t, body, 10)
}

func TestReadBodyNeverExpands(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("x"))
	r.Header.Set("Content-Encoding", "gzip")
	_, err := httpx.ReadBody(nil, r, 10)
	require.Equal(t, "content_encoding", agentid.ReasonOf(err))
}

func TestRequestIDIsOurs(t *testing.T) {
	var seen string
	h := httpx.WithRequestID(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = httpx.RequestID(r.Context()) }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set(httpx.HeaderRequestID, "forged\n")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Len(t, seen, 26)
	require.Equal(t, seen, w.Header().Get(httpx.HeaderRequestID))
	require.NotEqual(t, httpx.NewID(), httpx.NewID())
	before := seen
	for range 100 {
		h.ServeHTTP(w, r)
		require.Len(t, seen, 26)
		require.NotEqual(t, before, seen)
		require.LessOrEqual(t, before[:9], seen[:9], "they grow with time")
		before = seen
	}
	require.Empty(t, httpx.RequestID(t.Context()))
}

func TestRecoverLeaksNothing(t *testing.T) {
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	render := func(w http.ResponseWriter, _ *http.Request, err error) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, err.Error())
	}
	h := httpx.Recover(logger, render)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("hunter2") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "hunter2")
	require.Contains(t, logged.String(), "hunter2")
}

func TestRecoverCutsAResponseThatHasBegun(t *testing.T) {
	render := func(http.ResponseWriter, *http.Request, error) { t.Error("rendered over a response that had begun") }
	h := httpx.Recover(slog.New(slog.DiscardHandler), render)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("late")
	}))
	require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	})
}

func TestWriteJSONMayNotBeStored(t *testing.T) {
	w := httptest.NewRecorder()
	require.NoError(t, httpx.WriteJSON(w, http.StatusOK, map[string]int{"a": 1}))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.JSONEq(t, `{"a":1}`, w.Body.String())
	require.Error(t, httpx.WriteJSON(httptest.NewRecorder(), http.StatusOK, func() {}))
}

func TestServerIsBounded(t *testing.T) {
	s := httpx.NewServer("127.0.0.1:0", http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.NotZero(t, s.ReadHeaderTimeout)
	require.NotZero(t, s.ReadTimeout)
	require.NotZero(t, s.WriteTimeout)
	require.NotZero(t, s.IdleTimeout)
	require.LessOrEqual(t, s.MaxHeaderBytes, 32<<10)
	require.True(t, s.DisableGeneralOptionsHandler)
	require.False(t, s.Protocols.UnencryptedHTTP2())
}

func TestPeerIPIgnoresForwardedHeaders(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = "[::ffff:192.0.2.7]:1234"
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	require.Equal(t, "192.0.2.7", httpx.PeerIP(r).String())
	r.RemoteAddr = "@"
	require.False(t, httpx.PeerIP(r).IsValid())
}

func FuzzParsePairs(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "a=%00", "metadata[a]=b", "a=1;b=2", "&", "=", "%", "a=%E2%80%A8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pairs, err := httpx.ParsePairs(s, 64)
		if err != nil {
			if _, ok := errors.AsType[*agentid.Error](err); !ok || agentid.KindOf(err) != agentid.KindInvalid {
				t.Fatalf("not a refusal with a kind: %v", err)
			}
			return
		}
		for _, p := range pairs {
			if p.Name == "" || strings.ContainsRune(p.Name+p.Value, 0) {
				t.Fatalf("accepted %q", p)
			}
		}
	})
}
