package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/fleetcert"
)

// Defaults and bounds of a fleet.
const (
	DefaultLease = 2 * time.Second
	DefaultDrift = 200 * time.Millisecond
	leastLease   = 500 * time.Millisecond
	mostLease    = 30 * time.Second

	// FleetFolder is where "agentid fleet init" puts the authority, below the data folder,
	// and BrokerFolder, below that, the broker's own certificate.
	FleetFolder  = "fleet"
	BrokerFolder = "broker"
)

// AllConnectors is written in place of a list of connectors.
const AllConnectors = "all"

// Fleet is the broker's side towards gateways that run apart from it. Without Listen
// there are none.
type Fleet struct {
	Listen      string    `yaml:"listen"`            // the internal API, over mutual TLS
	GraphListen string    `yaml:"graph_listen"`      // the graph for gateways, over mutual TLS
	Cluster     string    `yaml:"cluster,omitempty"` // default: what the broker's certificate says
	TLS         MutualTLS `yaml:"tls,omitzero"`      // default: what "agentid fleet init" made
	// Lease is how long a gateway trusts what it remembers without hearing from the
	// broker, and so how long a revocation waits for one that does not answer.
	Lease time.Duration `yaml:"lease,omitempty"`
	// Drift is how much longer the broker waits: a gateway's clock may be slower by
	// Drift/Lease.
	Drift time.Duration `yaml:"drift,omitempty"`
	// Gateways lists which are admitted. Without any, all that the authority certified.
	Gateways []FleetGateway `yaml:"gateways,omitempty"`
}

// Enabled reports whether gateways may run apart.
func (f Fleet) Enabled() bool { return f.Listen != "" }

// FleetGateway is one gateway that may connect.
type FleetGateway struct {
	Name string `yaml:"name"`
	// Certificate is a name in its certificate, "dns:gw-1.example" or "uri:spiffe://…",
	// for an authority of one's own. Empty: agentid fleet certificate --gateway NAME.
	Certificate string `yaml:"certificate,omitempty"`
	// Connectors are refs of those that it may serve, or "all" alone. Empty: what the
	// certificate of agentid fleet certificate says.
	Connectors []string `yaml:"connectors,omitempty"`
}

// MutualTLS is a certificate chain's path, its key by reference, and the path of the
// authority that the other side's certificate must be of.
type MutualTLS struct {
	Cert string    `yaml:"cert,omitempty"`
	Key  Reference `yaml:"key,omitzero"`
	CA   string    `yaml:"ca,omitempty"`
}

// Source is where the certificate is read from, again and again.
func (t MutualTLS) Source() fleetcert.Source {
	return fleetcert.Source{Cert: t.Cert, Authority: t.CA, Key: func() ([]byte, error) {
		key, err := t.Key.Read()
		if err != nil {
			return nil, err
		}
		return []byte(key.Reveal()), nil
	}}
}

// inFolder is a certificate in the files that agentid fleet writes.
func inFolder(dir, authority string) MutualTLS {
	return MutualTLS{
		Cert: filepath.Join(dir, fleetcert.CertFile), CA: filepath.Join(authority, fleetcert.AuthorityFile),
		Key: Reference{scheme: schemeFile, target: filepath.Join(dir, fleetcert.KeyFile)},
	}
}

func (f *Fleet) fill(dataDir string) {
	if !f.Enabled() {
		return
	}
	folder := filepath.Join(dataDir, FleetFolder)
	set(&f.TLS, inFolder(filepath.Join(folder, BrokerFolder), folder))
	set(&f.Lease, DefaultLease)
	set(&f.Drift, DefaultDrift)
}

// Roster says who is admitted, for the cluster given.
func (f Fleet) Roster(cluster string) (fleetcert.Roster, error) {
	out := fleetcert.Roster{Cluster: cluster}
	for i, g := range f.Gateways {
		m := fleetcert.Member{Name: g.Name, Certificate: g.Certificate}
		if len(g.Connectors) == 1 && g.Connectors[0] == AllConnectors {
			m.All = true
			out.Members = append(out.Members, m)
			continue
		}
		for j, text := range g.Connectors {
			ref, err := agentid.ParseRefAs(agentid.TypeConnector, text)
			if err != nil {
				return fleetcert.Roster{}, agentid.Invalidf(fmt.Sprintf("fleet.gateways[%d].connectors[%d]", i, j), "want connector:<tenant>/<name>, or all alone")
			}
			m.Connectors = append(m.Connectors, ref)
		}
		out.Members = append(out.Members, m)
	}
	return out, nil
}

func (v *validator) fleet(f Fleet) {
	if !f.Enabled() {
		if f.GraphListen != "" || len(f.Gateways) > 0 || f.Cluster != "" || f.TLS != (MutualTLS{}) {
			v.add("fleet.listen", "is required where fleet is given")
		}
		return
	}
	v.listen("fleet.listen", f.Listen)
	if f.GraphListen == "" {
		v.add("fleet.graph_listen", "is required: gateways ask the graph there")
	} else {
		v.listen("fleet.graph_listen", f.GraphListen)
	}
	if f.Cluster != "" && fleetcert.CheckName("cluster", f.Cluster) != nil {
		v.add("fleet.cluster", "want letters, digits, '-' and '_', at most 63")
	}
	v.mutual("fleet.tls", f.TLS)
	v.atLeast("fleet.lease", f.Lease, leastLease)
	if f.Lease > mostLease {
		v.add("fleet.lease", "must not be over "+mostLease.String()+": a revocation may wait that long")
	}
	if f.Drift < f.Lease/100 || f.Drift > f.Lease {
		v.add("fleet.drift", "want a hundredth of the lease to all of it")
	}
	v.members(f)
}

func (v *validator) members(f Fleet) {
	seen := map[string]bool{}
	for i, g := range f.Gateways {
		key := fmt.Sprintf("fleet.gateways[%d]", i)
		if fleetcert.CheckName("name", g.Name) != nil {
			v.add(key+".name", "want letters, digits, '-' and '_', at most 63")
		}
		if seen[g.Name] {
			v.add(key+".name", "is given twice")
		}
		seen[g.Name] = true
		kind, name, _ := strings.Cut(g.Certificate, ":")
		if g.Certificate != "" && (kind != "dns" && kind != "uri" || name == "") {
			v.add(key+".certificate", "want dns:NAME or uri:URI")
		}
		if g.Certificate != "" && len(g.Connectors) == 0 {
			v.add(key+".connectors", "is required with a certificate of another authority")
		}
	}
	if _, err := f.Roster("x"); err != nil {
		e := agentid.AsError(err)
		v.add(e.Field, e.Message)
	}
}

func (v *validator) mutual(key string, t MutualTLS) {
	if t.Cert == "" || t.Key.IsZero() || t.CA == "" {
		v.add(key, "needs cert (a path), key (file:/path or env:NAME) and ca (a path)")
	}
}
