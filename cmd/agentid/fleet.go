package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/httpx"
)

func newFleet() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fleet", Short: "Certificates of a broker and the gateways that run apart",
		Example: `  agentid fleet init --data agentid-data --host broker.internal
  agentid fleet certificate --data agentid-data --gateway gw-1 --connectors connector:acme/stripe --out gateway-certificate`,
	}
	cmd.AddCommand(newFleetInit(), newFleetCertificate())
	return cmd
}

func dataFlag(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", "agentid-data", "the broker's data folder; the authority is in its folder fleet")
}

func newFleetInit() *cobra.Command {
	var data, cluster string
	var hosts []string
	cmd := &cobra.Command{
		Use: "init", Short: "Make a certificate authority, and the broker's certificate", Args: cobra.NoArgs,
		Long: `Make a small certificate authority (ECDSA P-256) in <data>/fleet, and of it the broker's
certificate in <data>/fleet/broker. ca.key signs every gateway's certificate: keep it off
the gateways, and back it up with the sealing key. Without it, bring an authority of your
own: fleet.tls and fleet.gateways in the broker's configuration.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cluster == "" {
				cluster = "c-" + httpx.NewID()[:12]
			}
			now := time.Now()
			dir := filepath.Join(data, config.FleetFolder)
			authority, err := fleetcert.Init(dir, cluster, now)
			if err != nil {
				return err //nolint:wrapcheck // says what is wrong
			}
			pair, err := authority.Broker(hosts, fleetcert.BrokerLifetime, now)
			if err != nil {
				return err //nolint:wrapcheck // names the field
			}
			if err := pair.Write(filepath.Join(dir, config.BrokerFolder)); err != nil {
				return err //nolint:wrapcheck // names the file
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "cluster %s: authority in %s, the broker's certificate until %s\n",
				cluster, dir, now.Add(fleetcert.BrokerLifetime).UTC().Format(time.RFC3339))
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().StringVar(&cluster, "cluster", "", "the cluster's name; a random one by default")
	cmd.Flags().StringSliceVar(&hosts, "host", []string{"127.0.0.1", "localhost"}, "names and addresses by which gateways reach the broker")
	return cmd
}

// certificateFlags are those of fleet certificate.
type certificateFlags struct {
	data, gateway, out string
	connectors, hosts  []string
	broker             bool
	lifetime           time.Duration
}

func newFleetCertificate() *cobra.Command {
	var f certificateFlags
	cmd := &cobra.Command{
		Use: "certificate", Short: "Make or renew a gateway's certificate, or the broker's", Args: cobra.NoArgs,
		Long: `Make a certificate with its key: tls.crt, tls.key and ca.crt in --out, readable by their
owner only. To renew, run the same again and put the files in place of the old ones: they
are read again within 30 seconds, without a restart.

--connectors says what a gateway may serve: connectors by name, or all. It gets the upstream
credentials of these and of no other, sealed to this certificate's key.`,
		Example: `  agentid fleet certificate --gateway gw-1 --connectors connector:acme/stripe --out gateway-certificate
  agentid fleet certificate --broker --host broker.internal --host 10.0.0.5`,
		RunE: func(cmd *cobra.Command, _ []string) error { return makeCertificate(cmd, f) },
	}
	dataFlag(cmd, &f.data)
	cmd.Flags().StringVar(&f.gateway, "gateway", "", "the gateway's name")
	cmd.Flags().StringSliceVar(&f.connectors, "connectors", []string{config.AllConnectors}, "connector:<tenant>/<name>, or all")
	cmd.Flags().BoolVar(&f.broker, "broker", false, "renew the broker's own certificate")
	cmd.Flags().StringSliceVar(&f.hosts, "host", []string{"127.0.0.1", "localhost"}, "with --broker: names and addresses by which gateways reach it")
	cmd.Flags().StringVar(&f.out, "out", "", "folder for the files; default gateway-certificate, or the broker's own")
	cmd.Flags().DurationVar(&f.lifetime, "lifetime", 0, "how long it is good for; default 168h for a gateway, 2160h for the broker")
	return cmd
}

func makeCertificate(cmd *cobra.Command, f certificateFlags) error {
	if f.broker == (f.gateway != "") {
		return usagef("give one of --gateway NAME and --broker")
	}
	dir := filepath.Join(f.data, config.FleetFolder)
	authority, err := fleetcert.Load(dir)
	if err != nil {
		return err //nolint:wrapcheck // says what is wrong
	}
	now := time.Now()
	var pair fleetcert.Pair
	if f.broker {
		f.lifetime, f.out = orDuration(f.lifetime, fleetcert.BrokerLifetime), or(f.out, filepath.Join(dir, config.BrokerFolder))
		pair, err = authority.Broker(f.hosts, f.lifetime, now)
	} else {
		f.lifetime, f.out = orDuration(f.lifetime, fleetcert.GatewayLifetime), or(f.out, "gateway-certificate")
		pair, err = gatewayPair(authority, f, now)
	}
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if err := pair.Write(f.out); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "cluster %s: certificate in %s, until %s\n", authority.Cluster(), f.out, now.Add(f.lifetime).UTC().Format(time.RFC3339))
	return err //nolint:wrapcheck // standard output is gone
}

func gatewayPair(authority *fleetcert.Authority, f certificateFlags, now time.Time) (fleetcert.Pair, error) {
	if len(f.connectors) == 1 && f.connectors[0] == config.AllConnectors {
		return authority.Gateway(f.gateway, nil, true, f.lifetime, now) //nolint:wrapcheck // names the field
	}
	var refs []agentid.Ref
	for _, text := range f.connectors {
		ref, err := agentid.ParseRefAs(agentid.TypeConnector, strings.TrimSpace(text))
		if err != nil {
			return fleetcert.Pair{}, usagef("--connectors %q: want connector:<tenant>/<name>, or all alone", text)
		}
		refs = append(refs, ref)
	}
	return authority.Gateway(f.gateway, refs, false, f.lifetime, now) //nolint:wrapcheck // names the field
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func orDuration(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}
