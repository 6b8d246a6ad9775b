package api_test

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

func TestErrorsKeepKindAndReasonAndNeverTheirCause(t *testing.T) {
	for kind := agentid.KindInternal; kind <= agentid.KindUpstreamTimeout; kind++ {
		sent := agentid.Errorf(kind, "a_reason", "a message").WithField("a.field").WithCause(errors.New("a secret"))
		data, err := json.Marshal(api.ProblemOf(sent))
		require.NoError(t, err)
		require.NotContains(t, string(data), "secret")
		var p api.Problem
		require.NoError(t, api.Decode(data, 4096, &p))
		got := agentid.AsError(p.Err())
		require.Equal(t, kind, got.Kind)
		require.Equal(t, "a_reason", got.Reason)
		if kind != agentid.KindInternal {
			require.Equal(t, "a message", got.Message)
			require.Equal(t, "a.field", got.Field)
		}
	}
	later := httperr.WithRetryAfter(agentid.Errorf(agentid.KindConflict, "hold_pending", ""), 3*time.Second)
	require.Equal(t, 3*time.Second, httperr.Of(api.ProblemOf(later).Err()).RetryAfter)
	require.Equal(t, agentid.KindInternal, agentid.KindOf(api.Problem{Kind: "nonsense", Reason: "x"}.Err()), "an unknown kind denies")
	require.Equal(t, "internal", agentid.ReasonOf(api.Problem{Kind: "not_found"}.Err()))
}

func TestBodiesAreReadStrictly(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":     `{"id":"r1","more":1}`,
		"twice":             `{"id":"r1","id":"r2"}`,
		"another case":      `{"id":"r1","ID":"r2"}`,
		"something follows": `{"id":"r1"}{}`,
		"not an object":     `["id"]`,
		"invalid UTF-8":     "{\"id\":\"\xff\"}",
		"wrong type":        `{"id":7}`,
		"a bad ref":         `{"token":"token:*/x"}`,
		"nothing":           ``,
	} {
		var v any = new(api.Await)
		if name == "a bad ref" {
			v = new(wire.Reserve)
		}
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(api.Decode([]byte(text), 4096, v)), name)
	}
	var s wire.Settlement
	require.NoError(t, api.Decode([]byte(`{"id":"r1","outcome":"won","record":{}}`), 4096, &s))
	require.Zero(t, s.Outcome, "an outcome that is not known is the one that is refused")
	var e wire.Event
	require.NoError(t, api.Decode([]byte(`{"seq":1,"kind":"later"}`), 4096, &e))
	require.Zero(t, e.Kind)
}

func gateway(t *testing.T, a *fleetcert.Authority, name string) (*x509.Certificate, crypto.PrivateKey) {
	t.Helper()
	pair, err := a.Gateway(name, nil, true, time.Hour, time.Now())
	require.NoError(t, err)
	block, _ := pem.Decode(pair.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	block, _ = pem.Decode(pair.Key)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return cert, key
}

func TestCredentialsOpenForTheirGatewayAndConnectorOnly(t *testing.T) {
	a, err := fleetcert.NewAuthority("one", time.Now())
	require.NoError(t, err)
	cert, key := gateway(t, a, "gw-1")
	_, stranger := gateway(t, a, "gw-2")
	ref, err := agentid.ConnectorRef("acme", "stripe")
	require.NoError(t, err)
	other, err := agentid.ConnectorRef("acme", "other")
	require.NoError(t, err)
	plain := wire.Connector{
		Ref: ref, Kind: "payments", Resource: "https://pay.example", Upstream: "https://api.example", AllowPrivateUpstream: true,
		AllowBearer: true, StrictReadAudit: true, IntrospectionOnly: true, BearerLifetime: time.Minute,
		Rates: wire.Rates{TokenPerMinute: 1, TokenBurst: 2, AgentPerMinute: 3, AgentBurst: 4}, Credential: agentid.NewSecret("sk_live_x"), Version: 7,
	}
	sealed, err := api.Seal(plain, cert)
	require.NoError(t, err)
	text, err := json.Marshal(sealed)
	require.NoError(t, err)
	require.NotContains(t, string(text), "sk_live_x")
	var read api.Connector
	require.NoError(t, api.Decode(text, 1<<16, &read))
	keys := func(k crypto.PrivateKey) func(string) (crypto.PrivateKey, error) {
		return func(string) (crypto.PrivateKey, error) { return k, nil }
	}
	got, err := api.Unseal(read, keys(key))
	require.NoError(t, err)
	require.Equal(t, plain, got, "every setting travels")

	_, err = api.Unseal(read, keys(stranger))
	require.Error(t, err, "sealed to another gateway")
	read.Ref = other
	_, err = api.Unseal(read, keys(key))
	require.ErrorContains(t, err, "another connector")
	plain.Credential = agentid.Secret{}
	sealed, err = api.Seal(plain, cert)
	require.NoError(t, err)
	require.Empty(t, sealed.Sealed)
}
