package main

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/browser"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
)

// loginProcess is "agentid login" as a process of its own, and the address that it prints.
type loginProcess struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	errs *bufio.Scanner
	said []string
}

func (s *site) login(session string, args ...string) *loginProcess {
	s.t.Helper()
	program, err := binary()
	require.NoError(s.t, err)
	l := &loginProcess{cmd: exec.CommandContext(s.t.Context(), program, append([]string{"login", "--tenant", "acme", "--server", s.base, "--session", session}, args...)...)}
	l.cmd.Stdout = &l.out
	stderr, err := l.cmd.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, l.cmd.Start())
	l.errs = bufio.NewScanner(stderr)
	return l
}

// reads gives the groups of the first line that matches.
func (l *loginProcess) reads(t *testing.T, pattern string) []string {
	t.Helper()
	want := regexp.MustCompile(pattern)
	for l.errs.Scan() {
		l.said = append(l.said, l.errs.Text())
		if found := want.FindStringSubmatch(l.errs.Text()); found != nil {
			return found
		}
	}
	require.FailNow(t, "the command did not say it", "%s: %v", pattern, l.said)
	return nil
}

func (l *loginProcess) ends(t *testing.T) (string, error) {
	t.Helper()
	for l.errs.Scan() {
		l.said = append(l.said, l.errs.Text())
	}
	err := l.cmd.Wait()
	return strings.TrimSpace(l.out.String() + strings.Join(l.said, "\n")), err
}

// People sign in at real providers with a real browser: where the command line is, and by
// a code on another machine. Both ways are one principal, who launches an agent.
func TestLoginInChromium(t *testing.T) {
	s := newSite(t)
	s.start()
	s.acme()
	for _, kind := range []idp.Kind{idp.OIDCProvider, idp.Zitadel} {
		t.Run(kind.String(), func(t *testing.T) {
			s.t = t
			s.federate(t, kind)
			alice := idp.Alice()
			visit := browser.Visit{Press: "Continue with", Username: alice.Username, Password: alice.Password}
			session := filepath.Join(t.TempDir(), "session.json")

			web := s.login(session, "--no-browser")
			visit.URL = web.reads(t, `^\s*(http\S+)$`)[1]
			page := browser.Open(t, visit)
			require.Contains(t, page.Text, "go back to the command line")
			for _, c := range page.Cookies {
				if c.Name == "agentid-login" {
					require.True(t, c.HTTPOnly)
					require.Equal(t, "Lax", c.SameSite)
				}
			}
			said, err := web.ends(t)
			require.NoError(t, err, said)
			who := regexp.MustCompile(`signed in as (principal:acme/corp-\S+)`).FindStringSubmatch(said)
			require.NotNil(t, who, said)
			info, err := os.Stat(session)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

			device := s.login(session, "--device")
			asked := device.reads(t, `^Open (\S+) on any machine and enter (\S+)$`)
			visit.URL, visit.Code = asked[1], asked[2]
			page = browser.Open(t, visit)
			require.Contains(t, page.Text, "Signed in")
			said, err = device.ends(t)
			require.NoError(t, err, said)
			require.Contains(t, said, who[0], "the same principal by both ways")

			key := filepath.Join(t.TempDir(), "mine.key")
			code, out := s.cli("delegation", "launch", "agent:acme/by-"+kind.String(), "--type", "refund-agent", "--key-out", key, "--for", "1h", "--session", session)
			require.Zero(t, code, out)
			require.Contains(t, out, who[1])
			code, out = s.cli("logout", "--session", session)
			require.Zero(t, code, out)
			code, _ = s.cli("delegation", "list", "--session", session)
			require.NotZero(t, code, "the session has ended")
		})
	}
}

// Somebody whose groups give nothing signs in and launches nothing; a wrong password signs
// nobody in.
func TestLoginGivesWhatGroupsGive(t *testing.T) {
	s := newSite(t)
	s.start()
	s.acme()
	s.federate(t, idp.OIDCProvider)
	session := filepath.Join(t.TempDir(), "session.json")
	l := s.login(session, "--no-browser")
	at := l.reads(t, `^\s*(http\S+)$`)[1]
	wrong := idp.Mallory()
	wrong.Password = "guess"
	_, err := idp.Visit(t.Context(), at, wrong, "http://127.0.0.1:0/")
	require.ErrorContains(t, err, "wrong")
	_, err = os.Stat(session)
	require.ErrorIs(t, err, os.ErrNotExist)

	redirect := regexp.MustCompile(`redirect_uri=([^&]+)`).FindStringSubmatch(at)[1]
	redirect = strings.NewReplacer("%3A", ":", "%2F", "/").Replace(redirect)
	back, err := idp.Visit(t.Context(), at, idp.Mallory(), redirect)
	require.NoError(t, err)
	resp, err := http.Get(back.String()) //nolint:noctx // the command's own listener
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	said, err := l.ends(t)
	require.NoError(t, err, said)
	require.Contains(t, said, "signed in as principal:acme/corp-")
	code, out := s.cli("delegation", "launch", "agent:acme/hers", "--type", "refund-agent", "--key-out", filepath.Join(t.TempDir(), "k"), "--session", session)
	require.NotZero(t, code)
	require.Contains(t, out, "launch_refused")
}
