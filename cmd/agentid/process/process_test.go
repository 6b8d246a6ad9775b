package process_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/internal/config"
)

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, dir string) (chain, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	chain, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(chain, text, 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	roots = x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	return chain, key, roots
}

func parse(t *testing.T, dir, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(dir, "agentid.yaml"), []byte(text))
	require.NoError(t, err)
	return cfg
}

func TestServesOverTLSWithTheConfiguredAlgorithm(t *testing.T) {
	dir := t.TempDir()
	chain, key, roots := certificate(t, dir)
	section := fmt.Sprintf("{cert: %q, key: %q}", chain, "file:"+key)
	cfg := parse(t, dir, "broker: {listen: '127.0.0.1:0', url: 'https://127.0.0.1', tls: "+section+"}\n"+
		"gateway: {listen: ['127.0.0.1:0'], tls: "+section+"}\ntokens: {algorithm: ES256}\ntelemetry: {metrics_listen: '127.0.0.1:0'}\n")
	var logs bytes.Buffer
	p, err := process.Start(t.Context(), cfg, process.Options{Logger: slog.New(slog.NewJSONHandler(&logs, nil)), Version: "test"})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close(context.Background())) }()
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}

	get := func(url string) (int, []byte, string) {
		resp, err := secure.Get(url)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode, body, resp.Proto
	}
	status, _, proto := get("https://" + p.BrokerAddr() + "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "HTTP/2.0", proto)
	status, body, _ := get("https://" + p.BrokerAddr() + "/oauth2/jwks")
	require.Equal(t, http.StatusOK, status)
	var set struct {
		Keys []struct {
			Alg string `json:"alg"`
		} `json:"keys"`
	}
	require.NoError(t, json.Unmarshal(body, &set))
	require.Contains(t, fmt.Sprint(set.Keys), "ES256")
	status, _, _ = get("https://" + p.BrokerAddr() + "/metrics")
	require.Equal(t, http.StatusNotFound, status, "metrics have a listener of their own")
	status, _, proto = get("https://" + p.GatewayAddrs()[0] + "/v1/charges/ch_1")
	require.GreaterOrEqual(t, status, http.StatusBadRequest, "no connector is here")
	require.Equal(t, "HTTP/1.1", proto, "nothing passes the raw checks by")
	status, _, _ = get("https://" + p.BrokerAddr() + "/debug/pprof/goroutine")
	require.Equal(t, http.StatusNotFound, status, "profiles are served only where a listener is configured")
}

func TestAStartThatFailsLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := parse(t, dir, fmt.Sprintf("broker: {listen: '127.0.0.1:0'}\ngateway: {listen: [%q]}\n", taken.Addr()))
	opts := process.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"}
	_, err = process.Start(t.Context(), cfg, opts)
	require.ErrorContains(t, err, "gateway.listen[0]")
	require.NoError(t, taken.Close())
	p, err := process.Start(t.Context(), cfg, opts)
	require.NoError(t, err, "lock, stores and ports are free again")
	require.NoError(t, p.Close(t.Context()))
}

func TestAnotherSealKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	cfg := parse(t, dir, "broker: {listen: '127.0.0.1:0'}\ngateway: {listen: ['127.0.0.1:0']}\n")
	opts := process.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"}
	p, err := process.Start(t.Context(), cfg, opts)
	require.NoError(t, err)
	require.NoError(t, p.Close(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(cfg.DataDir, "seal.key")))
	_, err = process.Start(t.Context(), cfg, opts)
	require.Error(t, err, "a new key does not open the old ledger")
	cfg.SealKey, err = config.ParseReference("file:" + filepath.Join(dir, "none.key"))
	require.NoError(t, err)
	_, err = process.Start(t.Context(), cfg, opts)
	require.Error(t, err, "a configured key must be there")
}
