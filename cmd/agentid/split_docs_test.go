package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid/deploy/examples"
)

// TestSplitDocument does what docs/split.md says, with the files that it names, and makes
// the refund of the worked example with Stripe's own SDK.
func TestSplitDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/split.md")
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(page), "```sh\n")
	require.True(t, ok)
	block, _, ok = strings.Cut(block, "```")
	require.True(t, ok)

	s := newSite(t) // for its upstream; its own process is not started
	ports := map[string]string{}
	for _, port := range []string{"7420", "7421", "7422", "7423", "7430", "7431", "8100"} {
		ports[port] = freePort(t)
	}
	moved := func(text string) string {
		for port, addr := range ports {
			text = strings.ReplaceAll(text, "127.0.0.1:"+port, addr)
		}
		return text
	}
	for _, name := range []string{"broker.yaml", "gateway.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../deploy/examples/split", name))
		require.NoError(t, err)
		s.write(name, moved(string(text)))
	}
	acme, err := examples.AcmeAt("http://"+ports["7421"], s.upstream, "env:STRIPE_KEY")
	require.NoError(t, err)
	s.write("acme.yaml", acme)

	path, err := binary()
	require.NoError(t, err)
	script := exec.Command("bash", "-euc", moved(block)+"\nwait")
	script.Dir = s.dir
	script.Env = append(os.Environ(), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"), "STRIPE_KEY="+upstreamKey, "AGENTID_ISSUER=http://"+ports["7420"]+"/acme",
		"AGENTID_SERVER=http://"+ports["7420"], "AGENTID_CREDENTIAL_FILE="+filepath.Join(s.dir, "agentid-data", "admin.token"))
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	logs, err := os.Create(filepath.Join(s.dir, "logs"))
	require.NoError(t, err)
	script.Stdout, script.Stderr = logs, logs
	require.NoError(t, script.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-script.Process.Pid, syscall.SIGKILL)
		_ = script.Wait()
	})
	if !eventually(30*time.Second, func() bool {
		c, err := net.Dial("tcp", ports["8100"])
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}) {
		text, _ := os.ReadFile(logs.Name())
		require.FailNow(t, "the commands did not come to their end", string(text))
	}
	sdk := stripe.NewClient("sk_unused", stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String("http://" + ports["8100"]), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
	params := &stripe.RefundCreateParams{Charge: stripe.String("ch_ada"), Amount: stripe.Int64(4200)}
	params.SetIdempotencyKey("split-1")
	refund, err := sdk.V1Refunds.Create(t.Context(), params)
	require.NoError(t, err)
	require.Equal(t, stripe.RefundStatusSucceeded, refund.Status)
	require.EqualValues(t, 4200, s.sim.Refunded("ch_ada"))
	over := &stripe.RefundCreateParams{Charge: stripe.String("ch_ada"), Amount: stripe.Int64(100)}
	over.SetIdempotencyKey("split-2")
	_, err = sdk.V1Refunds.Create(t.Context(), over)
	require.ErrorContains(t, err, "uses_exhausted", "the count is the broker's")
	require.Len(t, s.sim.Refunds(), 1)
}

func eventually(within time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-deadline.C:
			return ok()
		case <-tick.C:
			if ok() {
				return true
			}
		}
	}
}
