package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/peopleclient"
)

// person is how a person's command reaches the broker.
type person struct{ file string }

const personHelp = `
The session is in --session, or AGENTID_SESSION_FILE, of mode 0600.`

func (p *person) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&p.file, "session", env("AGENTID_SESSION_FILE", peopleclient.DefaultFile()), "file that holds the session")
}

func (*person) http() *http.Client {
	const timeout = 60 * time.Second
	return &http.Client{Timeout: timeout}
}

// call is one call as the person who is signed in.
func (p *person) call(ctx context.Context, method, path string, in, out any) error {
	s, err := peopleclient.Fresh(ctx, p.file, p.http())
	if err != nil {
		return err //nolint:wrapcheck // says what to do
	}
	return s.Call(ctx, p.http(), method, path, in, out) //nolint:wrapcheck // a Refusal says it all
}

func newLogin() *cobra.Command {
	var (
		p              person
		server, tenant string
		device, quiet  bool
		wait           time.Duration
	)
	cmd := &cobra.Command{
		Use: "login --tenant TENANT", Short: "Sign in as a person, by your organisation's identity provider", Args: cobra.NoArgs,
		Long: `Sign in with a browser: on this machine, which it opens, or with --device on any other one,
where a code is entered. The session stays in a file of mode 0600, and is refreshed as it is
used.` + personHelp,
		Example: `  agentid login --tenant acme
  agentid login --tenant acme --device        # on a machine without a browser`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return usagef("--tenant: name the tenant")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			s, err := signIn(ctx, cmd.ErrOrStderr(), p.http(), server+"/"+tenant, device, quiet)
			if err != nil {
				return err
			}
			var self object
			if err := s.Call(ctx, p.http(), http.MethodGet, "/self", nil, &self); err != nil {
				return err //nolint:wrapcheck // a Refusal says it all
			}
			s.Principal, _ = self["principal"].(string)
			if err := s.Save(p.file); err != nil {
				return err //nolint:wrapcheck // names the file
			}
			return say(cmd, "signed in as "+s.Principal)
		},
	}
	p.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&server, "server", env("AGENTID_SERVER", config.DefaultBrokerURL), "the broker's URL")
	f.StringVar(&tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant")
	f.BoolVar(&device, "device", false, "use a browser on another machine")
	f.BoolVar(&quiet, "no-browser", false, "print the address and open no browser")
	f.DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for you")
	return cmd
}

func signIn(ctx context.Context, out io.Writer, client *http.Client, issuer string, device, quiet bool) (peopleclient.Session, error) {
	if device {
		return peopleclient.Device(ctx, client, issuer, func(uri, complete, code string) error { //nolint:wrapcheck // says what failed
			_, err := fmt.Fprintf(out, "Open %s on any machine and enter %s\n(or open %s)\n", uri, code, complete)
			return err
		})
	}
	return peopleclient.Browser(ctx, client, issuer, func(url string) error { //nolint:wrapcheck // says what failed
		if _, err := fmt.Fprintf(out, "Sign in at\n  %s\n", url); err != nil || quiet {
			return err
		}
		for _, opener := range []string{"xdg-open", "open"} {
			if path, err := exec.LookPath(opener); err == nil {
				_ = exec.CommandContext(ctx, path, url).Start() //nolint:gosec // the broker's address that the person named; it is printed too
				return nil
			}
		}
		return nil
	})
}

func newLogout() *cobra.Command {
	var p person
	cmd := &cobra.Command{
		Use: "logout", Short: "End the session with all of its tokens", Args: cobra.NoArgs, Long: "End the session with all of its tokens." + personHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.call(cmd.Context(), http.MethodPost, "/logout", nil, nil); err != nil {
				return err
			}
			if err := peopleclient.Remove(p.file); err != nil {
				return err //nolint:wrapcheck // names the file
			}
			return say(cmd, "signed out")
		},
	}
	p.flags(cmd)
	return cmd
}
