package ledger

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// LoginClient is a program that a tenant's people sign in to: a public OAuth client.
type LoginClient struct {
	Tenant       string   `json:"tenant"`
	Name         string   `json:"name"` // its client_id
	Display      string   `json:"display,omitempty"`
	RedirectURIs []string `json:"redirect_uris"` // compared byte by byte
	Meta         `json:"-"`
}

// LoginCLI is the client_id of the command line, which needs no setting: it is sent back to
// a loopback address.
const LoginCLI = "agentid-cli"

const maxRedirects = 16

var loginClients = kind[LoginClient]{
	name:   TypeLoginClient,
	table:  objectTable("login_clients"),
	id:     func(c *LoginClient) (string, string) { return c.Tenant, c.Name },
	alias:  func(*LoginClient) string { return "" },
	meta:   func(c *LoginClient) *Meta { return &c.Meta },
	refers: func(c *LoginClient) []reference { return []reference{tenantReference(c.Tenant)} },
	check: func(c *LoginClient) error {
		if _, err := agentid.ResourceRef(TypeLoginClient, c.Tenant, c.Name); err != nil {
			return err
		}
		if len(c.RedirectURIs) == 0 || len(c.RedirectURIs) > maxRedirects {
			return agentid.Invalidf("redirect_uris", "want 1 to %d", maxRedirects)
		}
		return checkDisplay(c.Display)
	},
}

// PutLoginClient creates or replaces a client; see PutTenant.
func (l *Ledger) PutLoginClient(ctx context.Context, c LoginClient, records ...auditlog.Record) (LoginClient, bool, error) {
	return loginClients.put(ctx, l, c, records)
}

// LoginClient reads one: KindNotFound login_client_unknown.
func (l *Ledger) LoginClient(ctx context.Context, tenant, name string) (LoginClient, error) {
	return loginClients.get(ctx, l.reader(), tenant, name)
}

// LoginClients lists a tenant's clients in order of their names.
func (l *Ledger) LoginClients(ctx context.Context, tenant string, p Page) ([]LoginClient, error) {
	return loginClients.list(ctx, l.reader(), tenant, p)
}

// DeleteLoginClient deletes a client.
func (l *Ledger) DeleteLoginClient(ctx context.Context, tenant, name string, records ...auditlog.Record) error {
	return loginClients.remove(ctx, l, tenant, name, "", records)
}
