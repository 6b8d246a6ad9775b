package config

import (
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/agentid-dev/agentid/internal/yamlfile"
)

// The defaults, by name.
const (
	DefaultBrokerListen  = "127.0.0.1:7420"
	DefaultBrokerURL     = "http://127.0.0.1:7420"
	DefaultGatewayListen = "127.0.0.1:7421"
	DefaultLifetime      = 5 * time.Minute
	DefaultAlgorithm     = "EdDSA"
	DefaultDrain         = 15 * time.Second
	DefaultGCWindow      = 24 * time.Hour
	DefaultGCInterval    = 3 * time.Minute
	DefaultLogFormat     = "json"
	DefaultLogLevel      = "info"

	// MaxLifetime is the longest life that any token may have.
	MaxLifetime = time.Hour
)

// Config is the file. Every field has the effective value after Load.
type Config struct {
	DataDir   string        `yaml:"data_dir"` // holds the ledger, the graph, the seal key and the first administrator's credential
	Broker    Broker        `yaml:"broker"`
	Gateway   Gateway       `yaml:"gateway"`
	Fleet     Fleet         `yaml:"fleet,omitzero"` // for gateways that run apart
	Graph     Graph         `yaml:"graph"`
	ReadOnly  ReadOnly      `yaml:"spicedb_readonly,omitzero"`
	SealKey   Reference     `yaml:"seal_key"` // default file:<data_dir>/seal.key, made at first start
	Admin     Admin         `yaml:"admin"`
	Tokens    Tokens        `yaml:"tokens"`
	Rates     Rates         `yaml:"rates"`
	Log       Log           `yaml:"log"`
	Telemetry Telemetry     `yaml:"telemetry"`
	Drain     time.Duration `yaml:"drain"` // how long a shutdown waits for requests under way
}

// Broker is the Identity Broker's address and name.
type Broker struct {
	Listen         string `yaml:"listen"`
	URL            string `yaml:"url"` // the base of every issuer: scheme://host[:port], no path
	TLS            TLS    `yaml:"tls,omitzero"`
	BehindTLSProxy bool   `yaml:"behind_tls_proxy"` // plain http on other than loopback is meant
}

// Gateway is the Resource Gateway's addresses. Connectors are told apart by Host.
type Gateway struct {
	Listen         []string `yaml:"listen"`
	TLS            TLS      `yaml:"tls,omitzero"`
	BehindTLSProxy bool     `yaml:"behind_tls_proxy"`
}

// TLS is a certificate chain's path and its private key by reference.
type TLS struct {
	Cert string    `yaml:"cert,omitempty"`
	Key  Reference `yaml:"key,omitzero"`
	// ClientCertificates: the broker asks for one, for workloads that come with an
	// X.509-SVID. Browsers that have any ask their user then. The gateway always does.
	ClientCertificates bool `yaml:"client_certificates,omitempty"`
}

// Enabled reports whether TLS is configured.
func (t TLS) Enabled() bool { return t.Cert != "" || !t.Key.IsZero() }

// Graph says where relationships live. Embedded is the only mode.
type Graph struct {
	Mode       string        `yaml:"mode"`
	GCWindow   time.Duration `yaml:"gc_window"`
	GCInterval time.Duration `yaml:"gc_interval"`
}

// ReadOnly is an optional SpiceDB gRPC port on loopback that takes no writes.
type ReadOnly struct {
	Listen string    `yaml:"listen"`
	Key    Reference `yaml:"key,omitzero"`
}

// Admin is about the administrative API, which the broker serves.
type Admin struct {
	TokenFile string `yaml:"token_file"` // where the first credential is written, mode 0600
}

// Tokens bounds what is minted.
type Tokens struct {
	Lifetime  time.Duration `yaml:"lifetime"`  // at most 1h
	Algorithm string        `yaml:"algorithm"` // EdDSA or ES256
}

// Rates are the gateway's limits: of tokens and agents for connectors that set none, and of
// each tenant; and the broker's, of one agent's calls for tokens. 0: the default.
type Rates struct {
	TokenPerMinute  int `yaml:"token_per_minute"`
	TokenBurst      int `yaml:"token_burst"`
	AgentPerMinute  int `yaml:"agent_per_minute"`
	AgentBurst      int `yaml:"agent_burst"`
	TenantPerMinute int `yaml:"tenant_per_minute"`
	TenantBurst     int `yaml:"tenant_burst"`
	MintPerMinute   int `yaml:"mint_per_minute"`
	MintBurst       int `yaml:"mint_burst"`
}

// Log is how log lines look and which are written.
type Log struct {
	Format string `yaml:"format"` // json or text
	Level  string `yaml:"level"`  // debug, info, warn or error
}

// Telemetry is where traces go and where metrics are served.
type Telemetry struct {
	OTLPEndpoint  string `yaml:"otlp_endpoint,omitempty"`  // URL of an OTLP/HTTP collector; empty: no traces
	MetricsListen string `yaml:"metrics_listen,omitempty"` // empty: /metrics on the broker, for loopback peers only
	ProfileListen string `yaml:"profile_listen,omitempty"` // on loopback; serves /debug/pprof/; empty: nowhere
}

// Default is the configuration of a single machine, on loopback, over dataDir.
func Default(dataDir string) Config {
	c := Config{DataDir: dataDir}
	c.fill()
	return c
}

// OwnSealKey reports whether the sealing key is the one that the first start makes.
func (c Config) OwnSealKey() bool {
	return c.SealKey == Reference{scheme: schemeFile, target: filepath.Join(c.DataDir, sealKeyFile)}
}

const (
	defaultDataDir = "agentid-data"
	sealKeyFile    = "seal.key"
)

// Fill puts the named defaults where a configuration that was made in code is silent.
func (c *Config) Fill() { c.fill() }

// fill puts the named defaults where the file is silent.
func (c *Config) fill() {
	set(&c.DataDir, defaultDataDir)
	set(&c.Broker.Listen, DefaultBrokerListen)
	set(&c.Broker.URL, DefaultBrokerURL)
	if len(c.Gateway.Listen) == 0 {
		c.Gateway.Listen = []string{DefaultGatewayListen}
	}
	set(&c.Graph.Mode, "embedded")
	set(&c.Graph.GCWindow, DefaultGCWindow)
	set(&c.Graph.GCInterval, DefaultGCInterval)
	set(&c.SealKey, Reference{scheme: schemeFile, target: filepath.Join(c.DataDir, sealKeyFile)})
	set(&c.Admin.TokenFile, filepath.Join(c.DataDir, "admin.token"))
	set(&c.Tokens.Lifetime, DefaultLifetime)
	set(&c.Tokens.Algorithm, DefaultAlgorithm)
	set(&c.Log.Format, DefaultLogFormat)
	set(&c.Log.Level, DefaultLogLevel)
	set(&c.Drain, DefaultDrain)
	c.Fleet.fill(c.DataDir)
}

func set[T comparable](field *T, fallback T) {
	var zero T
	if *field == zero {
		*field = fallback
	}
}

// Load reads and validates a file. Relative paths in it are taken from its folder.
// All problems come back at once, as *yamlfile.Error.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, &yamlfile.Error{Problems: []yamlfile.Problem{{File: path, Message: "cannot be read: " + err.Error()}}}
	}
	return Parse(path, data)
}

// Parse is Load for bytes that are there already; file is used for messages and as
// the base of relative paths.
func Parse(file string, data []byte) (Config, error) {
	var c Config
	place, err := decode(file, data, &c)
	if err != nil {
		return Config{}, err
	}
	set(&c.DataDir, defaultDataDir)
	c.resolve(filepath.Dir(file))
	c.fill()
	if err := placed(c.Validate(), place); err != nil {
		return Config{}, err
	}
	return c, nil
}

// decode reads one document into v, and gives what finds the line of a key.
func decode(file string, data []byte, v any) (place func(key, message string) yamlfile.Problem, err error) {
	docs, err := yamlfile.Split(file, data)
	if err != nil {
		return nil, err //nolint:wrapcheck // every problem with its line
	}
	if len(docs) > 1 {
		return nil, &yamlfile.Error{Problems: []yamlfile.Problem{docs[1].Problem("", "a configuration is one YAML document")}}
	}
	if len(docs) == 0 {
		return func(key, message string) yamlfile.Problem {
			return yamlfile.Problem{File: file, Key: key, Message: message}
		}, nil
	}
	return docs[0].Problem, docs[0].Decode(v) //nolint:wrapcheck // every problem with its line
}

func placed(faults []Fault, place func(key, message string) yamlfile.Problem) error {
	var problems []yamlfile.Problem
	for _, f := range faults {
		problems = append(problems, place(f.Key, f.Message))
	}
	if len(problems) > 0 {
		return &yamlfile.Error{Problems: problems}
	}
	return nil
}

// resolve makes relative paths start at the file's folder.
func (c *Config) resolve(base string) {
	resolve(base, []*string{
		&c.DataDir, &c.Admin.TokenFile, &c.Broker.TLS.Cert, &c.Gateway.TLS.Cert, &c.Fleet.TLS.Cert, &c.Fleet.TLS.CA,
	}, []*Reference{&c.SealKey, &c.ReadOnly.Key, &c.Broker.TLS.Key, &c.Gateway.TLS.Key, &c.Fleet.TLS.Key})
}

func resolve(base string, paths []*string, references []*Reference) {
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	for _, r := range references {
		r.resolve(base)
	}
}

// Show is the effective configuration as YAML. Secrets appear as their references.
func (c Config) Show() ([]byte, error) { return yaml.Marshal(c) }
