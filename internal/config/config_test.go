package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/yamlfile"
)

const full = `# everything
data_dir: data
broker:
  listen: 127.0.0.1:9000
  url: https://id.example.com
  behind_tls_proxy: true
gateway:
  listen: [127.0.0.1:9001, 127.0.0.1:9002]
  tls:
    cert: tls/cert.pem
    key: file:tls/key.pem
graph:
  mode: embedded
  gc_window: 2h
spicedb_readonly:
  listen: 127.0.0.1:50051
  key: env:ZED_KEY
seal_key: file:keys/seal.key
tokens:
  lifetime: 2m
  algorithm: ES256
rates: {token_per_minute: 60, token_burst: 10}
log: {format: text, level: debug}
telemetry:
  otlp_endpoint: http://127.0.0.1:4318
drain: 30s
`

func TestFullFile(t *testing.T) {
	c, err := config.Parse("/etc/agentid/agentid.yaml", []byte(full))
	require.NoError(t, err)
	require.Equal(t, "/etc/agentid/data", c.DataDir)
	require.Equal(t, "file:/etc/agentid/keys/seal.key", c.SealKey.String())
	require.Equal(t, "/etc/agentid/tls/cert.pem", c.Gateway.TLS.Cert)
	require.Equal(t, "/etc/agentid/data/admin.token", c.Admin.TokenFile)
	require.Equal(t, 2*time.Minute, c.Tokens.Lifetime)
	require.False(t, c.OwnSealKey())
	require.True(t, config.Default("/y").OwnSealKey())
	require.Equal(t, 2*time.Hour, c.Graph.GCWindow)
	require.Len(t, c.Gateway.Listen, 2)
	shown, err := c.Show()
	require.NoError(t, err)
	again, err := config.Parse("/elsewhere.yaml", shown)
	require.NoError(t, err, "what is shown can be read back:\n%s", shown)
	require.Equal(t, c, again)
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	c, err := config.Parse("/x/agentid.yaml", nil)
	require.NoError(t, err)
	require.Equal(t, config.DefaultBrokerURL, c.Broker.URL)
	require.Equal(t, "/x/agentid-data", c.DataDir, "beside the file")
	require.Equal(t, "embedded", c.Graph.Mode)
	require.Empty(t, config.Default("/y").Validate())
}

func TestRefusalsNameFileLineKeyAndWhatWasExpected(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml, key, message string
		line               int
	}{
		"unknown key":         {"data_dir: d\ngateway:\n  lissten: [a]\n", "gateway.lissten", "unknown key; expected one of behind_tls_proxy, listen, tls", 3},
		"unknown section":     {"gatewai: {}\n", "gatewai", "unknown key; expected one of admin, broker,", 1},
		"wrong type":          {"drain: soon\n", "drain", "expected a duration such as", 1},
		"number for text":     {"data_dir: 7\n", "data_dir", "expected text", 1},
		"scalar for list":     {"gateway:\n  listen: 127.0.0.1:1\n", "gateway.listen", "expected a list of text", 2},
		"scalar for section":  {"log: json\n", "log", "expected a mapping with the keys format, level", 1},
		"empty":               {"log:\n  level:\n", "log.level", "is empty", 2},
		"fractional":          {"rates:\n  token_burst: 1.5\n", "rates.token_burst", "expected a whole number", 2},
		"negative":            {"rates:\n  token_burst: -1\n", "rates.token_burst", "must not be negative", 2},
		"literal secret":      {"seal_key: hunter2hunter2\n", "seal_key", "never the secret itself", 1},
		"plain http":          {"broker:\n  listen: 0.0.0.0:80\n", "broker.listen", "beyond loopback without TLS", 2},
		"plain gateway":       {"gateway:\n  listen:\n    - 127.0.0.1:1\n    - :80\n", "gateway.listen[1]", "beyond loopback without TLS", 4},
		"http issuer":         {"broker:\n  url: http://id.example.com\n", "broker.url", "must be https", 2},
		"issuer with slash":   {"broker:\n  url: https://id.example.com/\n", "broker.url", "no trailing slash", 2},
		"no port":             {"broker:\n  listen: localhost\n", "broker.listen", "expected host:port", 2},
		"half tls":            {"broker:\n  url: https://a\n  tls:\n    cert: c.pem\n", "broker.tls", "needs both", 4},
		"algorithm":           {"tokens:\n  algorithm: none\n", "tokens.algorithm", "expected EdDSA or ES256", 2},
		"lifetime over max":   {"tokens:\n  lifetime: 2h\n", "tokens.lifetime", "must not be over", 2},
		"zed beyond loopback": {"spicedb_readonly:\n  listen: 10.0.0.1:1\n  key: env:K\n", "spicedb_readonly.listen", "loopback", 2},
		"profiles beyond":     {"telemetry:\n  profile_listen: 10.0.0.1:1\n", "telemetry.profile_listen", "loopback", 2},
		"zed without key":     {"spicedb_readonly:\n  listen: 127.0.0.1:1\n", "spicedb_readonly.key", "is required", 2},
		"anchor":              {"log: &a\n  level: info\n", "log", "anchors", 1},
		"graph mode":          {"graph: {mode: memory}\n", "graph.mode", "expected embedded", 1},
		"twice":               {"gateway: {listen: ['127.0.0.1:7420']}\n", "gateway.listen[0]", "twice", 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("c.yaml", []byte(tc.yaml))
			var e *yamlfile.Error
			require.True(t, errors.As(err, &e), "%v", err)
			require.Len(t, e.Problems, 1, "%v", err)
			p := e.Problems[0]
			require.Equal(t, "c.yaml", p.File)
			require.Equal(t, tc.key, p.Key)
			require.Equal(t, tc.line, p.Line, p.String())
			require.Contains(t, p.Message, tc.message)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestSyntaxAndDuplicateKeys(t *testing.T) {
	for _, text := range []string{"log: {level: info\n", "drain: 5s\ndrain: 6s\n", "\tlog: 1\n", "drain: 5s\n---\ndrain: 6s\n"} {
		_, err := config.Parse("c.yaml", []byte(text))
		var e *yamlfile.Error
		require.True(t, errors.As(err, &e), text)
		require.NotZero(t, e.Problems[0].Line, text)
	}
}

func TestAllProblemsAtOnceWithTheirSource(t *testing.T) {
	_, err := config.Parse("c.yaml", []byte("lgo: {}\ndrain: soon\nrates: {x: 1}\n"))
	var e *yamlfile.Error
	require.True(t, errors.As(err, &e))
	require.Len(t, e.Problems, 3)
	require.Contains(t, err.Error(), "c.yaml:2:8: drain: expected a duration such as 5m or 1h30m\n     2 | drain: soon\n       |        ^")
}

func TestLoadNamesAMissingFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorContains(t, err, "none.yaml: cannot be read")
}

func TestReferences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(path, []byte("value\n"), 0o600))
	r, err := config.ParseReference("file:" + path)
	require.NoError(t, err)
	s, err := r.Read()
	require.NoError(t, err)
	require.Equal(t, "value", s.Reveal())

	require.NoError(t, os.Chmod(path, 0o644))
	_, err = r.Read()
	require.ErrorContains(t, err, "chmod 600")

	t.Setenv("AGENTID_TEST_SECRET", "v2")
	r, err = config.ParseReference("env:AGENTID_TEST_SECRET")
	require.NoError(t, err)
	s, err = r.Read()
	require.NoError(t, err)
	require.Equal(t, "v2", s.Reveal())
	r, err = config.ParseReference("env:AGENTID_TEST_UNSET")
	require.NoError(t, err)
	_, err = r.Read()
	require.Error(t, err)
	for _, bad := range []string{"", "plain", "file:", "vault:x"} {
		_, err := config.ParseReference(bad)
		require.Error(t, err, bad)
	}
	_, err = config.Reference{}.Read()
	require.Error(t, err)
}

func TestRatesAreRead(t *testing.T) {
	c, err := config.Parse("agentid.yaml", []byte("rates: {tenant_per_minute: 10, tenant_burst: 2, mint_per_minute: 3, mint_burst: 1}\n"))
	require.NoError(t, err)
	require.Equal(t, config.Rates{TenantPerMinute: 10, TenantBurst: 2, MintPerMinute: 3, MintBurst: 1}, c.Rates)
	_, err = config.Parse("agentid.yaml", []byte("rates:\n  mint_burst: -1\n  tenant_burst: -2\n"))
	require.ErrorContains(t, err, "agentid.yaml:2:15: rates.mint_burst: must not be negative")
	require.ErrorContains(t, err, "agentid.yaml:3:17: rates.tenant_burst: must not be negative")
}
