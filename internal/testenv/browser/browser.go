// Package browser is a person at a real browser: headless Chromium, driven by
// playwright-core, signs in where a page asks for it. It is for tests only.
//
// Chromium comes from the system (internal/testenv/install.sh installs Debian's); each
// visit has a fresh profile.
package browser

import (
	_ "embed"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/agentid-dev/agentid/internal/testenv/npm"
)

//go:embed testdata/visit.mjs
var script []byte

// timeout bounds each step of a visit.
const timeout = 30 * time.Second

// Visit is what a person does: opens URL, and answers every login form, device code form
// and confirmation once.
type Visit struct {
	URL      string
	Username string
	Password string
	Code     string // what to type where a device's code is asked for and not filled in
	Press    string // the name of the button that confirms, e.g. "Continue"
}

// Page is where a visit ended.
type Page struct {
	URL     string     `json:"url"`
	Title   string     `json:"title"`
	Text    string     `json:"text"`    // what is to be read there
	Visited []Response `json:"visited"` // the answers to navigations, redirects among them
	Cookies []Cookie   `json:"cookies"` // of all hosts
}

// Response is what a server said to one navigation.
type Response struct {
	URL     string            `json:"url"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"` // names in lower case
}

// Cookie is one that the browser holds.
type Cookie struct {
	Name     string `json:"name"`
	Domain   string `json:"domain"`
	Path     string `json:"path"`
	HTTPOnly bool   `json:"httpOnly"`
	Secure   bool   `json:"secure"`
	SameSite string `json:"sameSite"`
}

// Open makes the visit. The test fails where the browser cannot.
func Open(t testing.TB, v Visit) Page {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("no Chromium: run internal/testenv/install.sh: %v", err)
	}
	task, err := json.Marshal(map[string]any{
		"url": v.URL, "username": v.Username, "password": v.Password, "code": v.Code, "press": v.Press,
		"chromium": chromium, "profile": t.TempDir(), "timeout": timeout.Milliseconds(),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := npm.Node(t, script, "TASK="+string(task), "HOME="+t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("Chromium at %s: %v\n%s", v.URL, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var page Page
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &page); err != nil {
		t.Fatalf("Chromium's report: %v\n%s", err, out)
	}
	return page
}
