package local

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/loadtest/proc"
)

// unlimited rates are above what any run sends.
const unlimited = `rates:
  token_per_minute: 1000000000
  token_burst: 1000000000
  agent_per_minute: 1000000000
  agent_burst: 1000000000
  tenant_per_minute: 1000000000
  tenant_burst: 1000000000
  mint_per_minute: 1000000000
  mint_burst: 1000000000
log: {level: warn}
`

// serve starts "agentid serve".
func (d *Deployment) serve(ctx context.Context) error {
	broker, err := d.addresses()
	if err != nil {
		return err
	}
	profiles, err := d.profiles("agentid")
	if err != nil {
		return err
	}
	path, err := d.write("agentid.yaml", fmt.Sprintf("data_dir: data\nbroker: {listen: %q, url: %q}\ngateway: {listen: [%q]}\ntokens: {lifetime: 1h}\n",
		broker, d.Base, d.Gateway)+unlimited+profiles+d.cfg.Extra)
	if err != nil {
		return err
	}
	if d.Server, err = proc.Start(ctx, proc.Spec{Name: "agentid", Command: []string{d.cfg.Binary, "serve", "--config", path}}); err != nil {
		return err //nolint:wrapcheck // names the process
	}
	return d.administrate(ctx)
}

// serveApart starts "agentid broker" and, with a certificate of its authority, "agentid
// gateway".
func (d *Deployment) serveApart(ctx context.Context) error {
	broker, err := d.addresses()
	if err != nil {
		return err
	}
	var fleet [3]string // the internal API, the graph, the gateway's health
	for i := range fleet {
		if fleet[i], err = FreePort(); err != nil {
			return err
		}
	}
	data, certificate := filepath.Join(d.cfg.Dir, "data"), filepath.Join(d.cfg.Dir, "gateway-certificate")
	if _, err := proc.Output(ctx, d.cfg.Binary, "fleet", "init", "--data", data); err != nil {
		return err //nolint:wrapcheck // names the command
	}
	profiles, err := d.profiles("broker")
	if err != nil {
		return err
	}
	path, err := d.write("broker.yaml", fmt.Sprintf("data_dir: data\nbroker: {listen: %q, url: %q}\nfleet: {listen: %q, graph_listen: %q}\ntokens: {lifetime: 1h}\n",
		broker, d.Base, fleet[0], fleet[1])+unlimited+profiles+d.cfg.Extra)
	if err != nil {
		return err
	}
	if d.Server, err = proc.Start(ctx, proc.Spec{Name: "broker", Command: []string{d.cfg.Binary, "broker", "--config", path}}); err != nil {
		return err //nolint:wrapcheck // names the process
	}
	if err := d.administrate(ctx); err != nil {
		return err
	}
	if _, err := proc.Output(ctx, d.cfg.Binary, "fleet", "certificate", "--data", data, "--gateway", "gw-1", "--out", certificate); err != nil {
		return err //nolint:wrapcheck // names the command
	}
	if profiles, err = d.profiles("gateway"); err != nil {
		return err
	}
	path, err = d.write("gateway.yaml", fmt.Sprintf("gateway: {listen: [%q]}\nbroker: {url: %q, graph: %q}\nhealth: {listen: %q}\n",
		d.Gateway, "https://"+fleet[0], fleet[1], fleet[2])+unlimited+profiles)
	if err != nil {
		return err
	}
	if d.Enforcer, err = proc.Start(ctx, proc.Spec{Name: "gateway", Command: []string{d.cfg.Binary, "gateway", "--config", path}}); err != nil {
		return err //nolint:wrapcheck // names the process
	}
	return WaitFor(ctx, d.Enforcer, "http://"+fleet[2]+"/readyz")
}

// profiles is the configuration of a process that is to serve profiles, where they are wanted.
func (d *Deployment) profiles(name string) (string, error) {
	if !d.cfg.Profiled {
		return "", nil
	}
	addr, err := FreePort()
	if d.Profiles == nil {
		d.Profiles = map[string]string{}
	}
	d.Profiles[name] = addr
	return fmt.Sprintf("telemetry: {profile_listen: %q}\n", addr), err
}

// addresses takes free ports for broker and gateway.
func (d *Deployment) addresses() (broker string, err error) {
	if broker, err = FreePort(); err != nil {
		return "", err
	}
	d.Base = "http://" + broker
	d.Gateway, err = FreePort()
	return broker, err
}

func (d *Deployment) write(name, text string) (string, error) {
	path := filepath.Join(d.cfg.Dir, name)
	const ownerOnly = 0o600
	if err := os.WriteFile(path, []byte(text), ownerOnly); err != nil {
		return "", fmt.Errorf("local: %w", err)
	}
	return path, nil
}

// administrate waits for the broker and takes the first administrator's credential.
func (d *Deployment) administrate(ctx context.Context) error {
	if err := WaitFor(ctx, d.Server, d.Base+"/readyz"); err != nil {
		return err
	}
	var err error
	d.Admin, err = adminclient.AdminFromFile(d.Base, filepath.Join(d.cfg.Dir, "data", "admin.token"))
	d.Admin.HTTP = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: registerers}}
	return err //nolint:wrapcheck // names the file
}
