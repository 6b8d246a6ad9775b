package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/config"
)

// connection is how an administrator's command reaches the broker.
type connection struct {
	server, credential string
}

const connectionHelp = `
The broker's address and the administrator's credential come from --server and
--credential, or from AGENTID_SERVER and AGENTID_CREDENTIAL_FILE.`

func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.server, "server", env("AGENTID_SERVER", config.DefaultBrokerURL), "the broker's URL")
	f.StringVar(&c.credential, "credential", env("AGENTID_CREDENTIAL_FILE", "agentid-data/admin.token"), "file that holds the administrator's credential (mode 0600)")
}

func (c *connection) admin() (adminclient.Admin, error) {
	return adminclient.AdminFromFile(c.server, c.credential) //nolint:wrapcheck // names the file
}

// call is one call of the administrative API.
func (c *connection) call(ctx context.Context, method, path string, in, out any) error {
	a, err := c.admin()
	if err != nil {
		return err
	}
	return a.Call(ctx, method, path, in, out) //nolint:wrapcheck // a Refusal says it all
}

// items fetches a list.
func (c *connection) items(ctx context.Context, path string) ([]object, error) {
	var answer struct {
		Items []object `json:"items"`
	}
	if err := c.call(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// all fetches a list page by page.
func (c *connection) all(ctx context.Context, path string) ([]object, error) {
	const pageSize = 1000
	var out []object
	for after := ""; ; {
		q := url.Values{"limit": {strconv.Itoa(pageSize)}}
		if after != "" {
			q.Set("after", after)
		}
		page, err := c.items(ctx, path+"?"+q.Encode())
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(page) < pageSize {
			return out, nil
		}
		after, _ = page[len(page)-1]["name"].(string)
	}
}
