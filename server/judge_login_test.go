package server_test

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
	"github.com/agentid-dev/agentid/internal/testenv/npm"
	"github.com/agentid-dev/agentid/server/ledger"
)

//go:embed testdata/logincode.mjs
var loginCode []byte

// portal is a program that people sign in to.
const portal, portalRedirect = "portal", "http://127.0.0.1:9/signed-in"

// federate makes a real provider one of acme's, with all flows and a group that may refund.
func (w *world) federate(t *testing.T, kind idp.Kind, change func(*ledger.IdentityProvider)) *idp.Provider {
	t.Helper()
	ours := idp.Client{ID: "agentid", Secret: "our secret there", Redirects: []string{w.base + "/acme/login/callback"}}
	p := idp.Start(t, kind, idp.Config{Clients: []idp.Client{ours}, Resources: []string{w.base + "/acme"}})
	row := ledger.IdentityProvider{
		Tenant: "acme", Name: "corp", Issuer: p.Issuer, ClientID: ours.ID, Scopes: []string{"email", "profile", "groups"},
		Flows: []ledger.LoginFlow{ledger.FlowLogin, ledger.FlowDevice, ledger.FlowExchange, ledger.FlowIDJAG},
		Groups: []ledger.GroupRule{
			{Group: "refunders", Resource: must(agentid.AgentTypeRef("acme", "refund-agent")), Relation: "launcher"},
			{Group: "refunders", Resource: must(agentid.ResourceRef("payments_account", "acme", "stripe")), Relation: "refunder"},
		},
		AllowPrivate: true,
	}
	if change != nil {
		change(&row)
	}
	_, _, err := w.ledger.PutIdentityProvider(t.Context(), row)
	require.NoError(t, err)
	require.NoError(t, w.ledger.PutProviderSecret(t.Context(), "acme", "corp", agentid.NewSecret(ours.Secret)))
	_, _, err = w.ledger.PutLoginClient(t.Context(), ledger.LoginClient{Tenant: "acme", Name: portal, RedirectURIs: []string{portalRedirect}})
	require.NoError(t, err)
	return p
}

// openid-client signs people in through the broker, which federates from a real provider.
func TestOpenIDClientSignsPeopleIn(t *testing.T) {
	for _, kind := range []idp.Kind{idp.OIDCProvider, idp.Zitadel} {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t)
			w.federate(t, kind, nil)
			cmd := npm.Node(t, loginCode, "ISSUER="+w.base+"/acme", "CLIENT_ID="+portal, "REDIRECT_URI="+portalRedirect)
			last := converse(t, cmd, func(open string) string {
				back, err := idp.Visit(t.Context(), open, idp.Alice(), portalRedirect)
				require.NoError(t, err)
				return back.String()
			})
			require.JSONEq(t, `{"ok":true}`, last)
		})
	}
}

// converse runs a script that prints {"open": URL} and reads a line for each; it returns
// the last line that was printed.
func converse(t *testing.T, cmd *exec.Cmd, open func(string) string) string {
	t.Helper()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var errs strings.Builder
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	var last string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		var asked struct {
			Open string `json:"open"`
		}
		if json.Unmarshal([]byte(last), &asked) == nil && asked.Open != "" {
			_, err := fmt.Fprintln(in, open(asked.Open))
			require.NoError(t, err)
		}
	}
	require.NoError(t, cmd.Wait(), "%s\n%s", last, &errs)
	return last
}
