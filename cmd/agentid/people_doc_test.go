package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/federation/federationtest"
)

// corp is an identity provider that signs one person in without asking.
func corp(t *testing.T) *httptest.Server {
	t.Helper()
	key := federationtest.NewKey(t, jose.ES256)
	var server *httptest.Server
	nonces := make(chan string, 1)
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": server.URL, "jwks_uri": server.URL + "/keys", "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token",
			})
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
		case "/authorize":
			q := r.URL.Query()
			nonces <- q.Get("nonce")
			http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"state": {q.Get("state")}, "code": {"c"}, "iss": {server.URL}}.Encode(), http.StatusFound)
		case "/token":
			now := time.Now()
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": federationtest.Sign(t, key, map[string]any{"typ": "JWT"}, map[string]any{
				"iss": server.URL, "aud": "agentid", "sub": "u-1", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": <-nonces,
				"name": "Alice", "groups": []string{"support", "staff"},
			})})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

var continueLink = regexp.MustCompile(`href="([^"]+/login/start[^"]+)"`)

// visit goes to a page as a browser, and on by the one link that signs in.
func visit(t *testing.T, jar http.CookieJar, page string, form url.Values) string {
	t.Helper()
	c := &http.Client{Jar: jar}
	get := func(resp *http.Response, err error) string {
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	var text string
	if form == nil {
		text = get(c.Get(page)) //nolint:noctx // ends with the test's servers
	} else {
		text = get(c.PostForm(page, form)) //nolint:noctx // the same
	}
	if link := continueLink.FindStringSubmatch(text); link != nil {
		return get(c.Get(strings.ReplaceAll(link[1], "&amp;", "&"))) //nolint:noctx // the same
	}
	return text
}

// signedIn runs a command that signs in, and does in a browser what it asks for.
func (s *site) signedIn(at func(lines *bufio.Scanner), args ...string) string {
	s.t.Helper()
	read, write := io.Pipe()
	var out bytes.Buffer
	done := make(chan int, 1)
	go func() {
		code := run(s.t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: write})
		_ = write.Close()
		done <- code
	}()
	lines := bufio.NewScanner(read)
	at(lines)
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	require.Zero(s.t, <-done, "%s %s", out.String(), rest)
	return out.String()
}

// TestThePeoplePage signs in by both ways, and runs every command of docs/people.md in
// order, as a shell does.
func TestThePeoplePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/people.md")
	require.NoError(t, err)
	s := newSite(t)
	s.start()
	s.acme()
	provider := corp(t)
	program, err := binary()
	require.NoError(t, err)
	text := strings.ReplaceAll(examples.People(), "https://login.acme.example", provider.URL+"\nallow_private: true")
	s.write("people.yaml", text)
	file := filepath.Join(s.dir, "state", "session.json")
	t.Setenv("AGENTID_SESSION_FILE", file)
	t.Setenv("AGENTID_SERVER", s.base)
	t.Setenv("OIDC_SECRET", "s3cret")
	scripts := strings.Split(string(page), "```sh\n")[1:]
	shell := func(script string) string {
		script, _, whole := strings.Cut(script, "```")
		require.True(t, whole)
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"),
			"AGENTID_SERVER="+s.base, "AGENTID_CREDENTIAL_FILE="+s.credential, "AGENTID_ISSUER="+s.base+"/acme")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", script, out)
		return string(out)
	}
	require.Contains(t, shell(scripts[0]), provider.URL)

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	out := s.signedIn(func(lines *bufio.Scanner) {
		require.True(t, lines.Scan())
		require.True(t, lines.Scan())
		require.Contains(t, visit(t, jar, strings.TrimSpace(lines.Text()), nil), "go back to the command line")
	}, "login", "--tenant", "acme", "--no-browser")
	require.Contains(t, out, "signed in as principal:acme/corp-")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	out = s.signedIn(func(lines *bufio.Scanner) {
		require.True(t, lines.Scan())
		require.True(t, lines.Scan())
		complete := strings.TrimSuffix(strings.TrimPrefix(lines.Text(), "(or open "), ")")
		form := visit(t, jar, complete, nil)
		field := func(name string) string {
			return regexp.MustCompile(`name="` + name + `" value="([^"]+)"`).FindStringSubmatch(form)[1]
		}
		require.Contains(t, visit(t, jar, s.base+"/acme/device", url.Values{"user_code": {field("user_code")}, "token": {field("token")}}), "Signed in")
	}, "login", "--tenant", "acme", "--device")
	require.Contains(t, out, "signed in as principal:acme/corp-")

	shell(scripts[1])
	require.Contains(t, shell(scripts[2]), `agent:acme/nightly`)
	require.Contains(t, shell(scripts[3]), "revoked")
	require.Equal(t, "retired", s.state("nightly"))
	require.Contains(t, shell(scripts[4]), "agent_type:acme/refund-agent#launcher")
	code, _ := s.cli("delegation", "list")
	require.Equal(t, exitFailed, code, "a person who left does nothing more")
	code, _ = s.cli("token", "--issuer", s.base+"/acme", "--agent", "agent:acme/mine", "--key", filepath.Join(s.dir, "mine.key"),
		"--template", "refund-customer", "--arg", "customer=cus_123", "--arg", "max_amount=4200")
	require.Equal(t, exitFailed, code, "nor do their agents")

	require.NoError(t, os.Chmod(file, 0o644))
	_, out = s.cli("delegation", "list")
	require.Contains(t, out, "chmod 600")
}
