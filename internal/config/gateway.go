package config

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/yamlfile"
)

// Defaults of a gateway that runs apart.
const (
	DefaultLinkURL      = "https://127.0.0.1:7430"
	DefaultLinkGraph    = "127.0.0.1:7431"
	DefaultHealthListen = "127.0.0.1:7423"
	defaultCertFolder   = "gateway-certificate"
)

// GatewayFile is what "agentid gateway" reads. It holds no database and no sealing key:
// what the gateway knows, it has from the broker.
type GatewayFile struct {
	Gateway   Gateway          `yaml:"gateway"`
	Link      Link             `yaml:"broker"`
	Health    Health           `yaml:"health"`
	Rates     Rates            `yaml:"rates"`
	Log       Log              `yaml:"log"`
	Telemetry GatewayTelemetry `yaml:"telemetry,omitzero"`
	Drain     time.Duration    `yaml:"drain"`
}

// Link is where the broker is, and the certificate to show it.
type Link struct {
	URL     string    `yaml:"url"`               // of the internal API: the broker's fleet.listen
	Graph   string    `yaml:"graph"`             // host:port: the broker's fleet.graph_listen
	Cluster string    `yaml:"cluster,omitempty"` // default: what the certificate says
	TLS     MutualTLS `yaml:"tls,omitzero"`      // default: tls.crt, tls.key and ca.crt in gateway-certificate
}

// Health is where /healthz, /readyz and /metrics are served.
type Health struct {
	Listen string `yaml:"listen"`
}

// GatewayTelemetry is where traces go, and where profiles are served.
type GatewayTelemetry struct {
	OTLPEndpoint  string `yaml:"otlp_endpoint,omitempty"`
	ProfileListen string `yaml:"profile_listen,omitempty"` // on loopback; serves /debug/pprof/; empty: nowhere
}

func (c *GatewayFile) fill(base string) {
	if len(c.Gateway.Listen) == 0 {
		c.Gateway.Listen = []string{DefaultGatewayListen}
	}
	set(&c.Link.URL, DefaultLinkURL)
	set(&c.Link.Graph, DefaultLinkGraph)
	folder := filepath.Join(base, defaultCertFolder)
	set(&c.Link.TLS, inFolder(folder, folder))
	set(&c.Health.Listen, DefaultHealthListen)
	set(&c.Log.Format, DefaultLogFormat)
	set(&c.Log.Level, DefaultLogLevel)
	set(&c.Drain, DefaultDrain)
}

// LoadGateway reads and validates a gateway's file. Relative paths in it are taken from
// its folder. All problems come back at once, as *yamlfile.Error.
func LoadGateway(path string) (GatewayFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return GatewayFile{}, &yamlfile.Error{Problems: []yamlfile.Problem{{File: path, Message: "cannot be read: " + err.Error()}}}
	}
	return ParseGateway(path, data)
}

// DefaultGateway is a gateway beside its broker, on loopback, over a folder that holds
// gateway-certificate.
func DefaultGateway(base string) GatewayFile {
	var c GatewayFile
	c.fill(base)
	return c
}

// ParseGateway is LoadGateway for bytes that are there already.
func ParseGateway(file string, data []byte) (GatewayFile, error) {
	var c GatewayFile
	place, err := decode(file, data, &c)
	if err != nil {
		return GatewayFile{}, err
	}
	base := filepath.Dir(file)
	resolve(base, []*string{&c.Gateway.TLS.Cert, &c.Link.TLS.Cert, &c.Link.TLS.CA}, []*Reference{&c.Gateway.TLS.Key, &c.Link.TLS.Key})
	c.fill(base)
	if err := placed(c.Validate(), place); err != nil {
		return GatewayFile{}, err
	}
	return c, nil
}

// Validate lists what is wrong with the effective values; empty means usable. It looks at
// no file and no socket.
func (c GatewayFile) Validate() []Fault {
	v := &validator{}
	v.tls("gateway.tls", c.Gateway.TLS)
	v.gatewayListen(c.Gateway, c.Health.Listen)
	if u, err := url.Parse(c.Link.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		v.add("broker.url", "expected https://host:port, the broker's fleet.listen")
	}
	if host, port, err := net.SplitHostPort(c.Link.Graph); err != nil || host == "" || port == "" {
		v.add("broker.graph", "expected host:port, the broker's fleet.graph_listen")
	}
	if c.Link.Cluster != "" && fleetcert.CheckName("cluster", c.Link.Cluster) != nil {
		v.add("broker.cluster", "want letters, digits, '-' and '_', at most 63")
	}
	v.mutual("broker.tls", c.Link.TLS)
	v.listen("health.listen", c.Health.Listen)
	v.rates(c.Rates)
	v.oneOf("log.format", c.Log.Format, "json", "text")
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	if c.Telemetry.OTLPEndpoint != "" {
		v.url("telemetry.otlp_endpoint", c.Telemetry.OTLPEndpoint, true)
	}
	v.profile(c.Telemetry.ProfileListen)
	v.atLeast("drain", c.Drain, time.Second)
	return v.sorted()
}

// Show is the effective configuration as YAML. Secrets appear as their references.
func (c GatewayFile) Show() ([]byte, error) { return yaml.Marshal(c) }
