package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/agentid-dev/agentid/internal/testenv/browser"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
)

// A person signs in at each provider, by the web and by the device flow.
func TestChromiumSignsIn(t *testing.T) {
	landed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "code=%t", r.FormValue("code") != "")
	}))
	t.Cleanup(landed.Close)
	client := idp.Client{ID: "app", Secret: "s3cret of the app", Redirects: []string{landed.URL + "/cb"}}
	alice := idp.Alice()
	for _, c := range []struct {
		kind         idp.Kind
		auth, device string
		press, done  string
	}{
		{idp.OIDCProvider, "/auth", "/device/auth", "Continue", "Sign-in Success"},
		{idp.Zitadel, "auth", "device_authorization", "Allow", "authorization allowed"},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			p := idp.Start(t, c.kind, idp.Config{Clients: []idp.Client{client}})
			o := oauth2.Config{
				ClientID: client.ID, ClientSecret: client.Secret, RedirectURL: client.Redirects[0], Scopes: []string{"openid"},
				Endpoint: oauth2.Endpoint{AuthURL: p.Issuer + c.auth, DeviceAuthURL: p.Issuer + c.device, AuthStyle: oauth2.AuthStyleInHeader},
			}
			at := o.AuthCodeURL("state-of-the-test", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
			page := browser.Open(t, browser.Visit{URL: at, Username: alice.Username, Password: alice.Password})
			require.Equal(t, "code=true", page.Text)
			end, err := url.Parse(page.URL)
			require.NoError(t, err)
			require.Equal(t, "state-of-the-test", end.Query().Get("state"))

			wrong := browser.Open(t, browser.Visit{URL: at, Username: alice.Username, Password: "guess"})
			require.Contains(t, wrong.Text, "wrong")

			device := deviceCode(t, client, o.Endpoint.DeviceAuthURL)
			page = browser.Open(t, browser.Visit{
				URL: device.URI, Code: device.Code, Press: c.press, Username: alice.Username, Password: alice.Password,
			})
			require.Contains(t, page.Text, c.done)
		})
	}
}

type device struct {
	Code string `json:"user_code"`
	URI  string `json:"verification_uri"`
}

func deviceCode(t *testing.T, c idp.Client, at string) (d device) {
	t.Helper()
	form := url.Values{"client_id": {c.ID}, "scope": {"openid"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&d))
	require.NotEmpty(t, d.Code)
	return d
}
