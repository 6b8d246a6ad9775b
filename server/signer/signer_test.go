package signer_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/signer"
)

// memory is a Store for the rules of rotation; the ledger's own is tested with the
// broker.
type memory struct {
	keys []signer.Key
	fail error
}

func (m *memory) SigningKeys(context.Context) ([]signer.Key, error) { return m.keys, m.fail }

func (m *memory) AddSigningKey(_ context.Context, k signer.Key) error {
	if m.fail == nil {
		m.keys = append(m.keys, k)
	}
	return m.fail
}

func (m *memory) SetSigningKeys(_ context.Context, infos ...signer.Info) error {
	if m.fail != nil {
		return m.fail
	}
	for _, info := range infos {
		for i := range m.keys {
			if m.keys[i].ID == info.ID {
				m.keys[i].Info = info
			}
		}
	}
	return nil
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T) (*signer.Signer, *memory, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	m := &memory{}
	s, err := signer.New(t.Context(), signer.Config{Store: m, TokenLifetime: time.Hour, PublishBefore: 5 * time.Minute, Now: c.Now})
	require.NoError(t, err)
	return s, m, c
}

func sign(t *testing.T, s *signer.Signer) (kid string, signed *jose.JSONWebSignature) {
	t.Helper()
	key, err := s.Active()
	require.NoError(t, err)
	js, err := jose.NewSigner(key, nil)
	require.NoError(t, err)
	made, err := js.Sign([]byte("x"))
	require.NoError(t, err)
	compact, err := made.CompactSerialize()
	require.NoError(t, err)
	signed, err = jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	require.NoError(t, err)
	return signed.Signatures[0].Header.KeyID, signed
}

func TestFirstStartMakesAnActiveKey(t *testing.T) {
	s, m, c := open(t)
	require.Len(t, m.keys, 1)
	kid, signed := sign(t, s)
	public, err := s.Key(kid)
	require.NoError(t, err)
	_, err = signed.Verify(public)
	require.NoError(t, err)

	again, err := signer.New(t.Context(), signer.Config{Store: m, TokenLifetime: time.Hour, PublishBefore: time.Minute, Now: c.Now})
	require.NoError(t, err)
	require.Equal(t, s.Keys(), again.Keys())
}

func TestRotation(t *testing.T) {
	s, _, c := open(t)
	old, signed := sign(t, s)
	next, err := s.Stage(t.Context(), signer.AlgorithmES256)
	require.NoError(t, err)
	require.Len(t, s.JWKS().Keys, 2, "a staged key is published")
	require.Equal(t, "key_too_young", agentid.ReasonOf(s.Activate(t.Context(), next.ID)))
	_, err = s.Key(next.ID)
	require.Error(t, err, "a staged key has signed nothing")

	c.now = c.now.Add(5 * time.Minute)
	require.NoError(t, s.Activate(t.Context(), next.ID))
	kid, _ := sign(t, s)
	require.Equal(t, next.ID, kid)
	public, err := s.Key(old)
	require.NoError(t, err, "a retired key still verifies")
	_, err = signed.Verify(public)
	require.NoError(t, err)

	c.now = c.now.Add(time.Hour - time.Second)
	require.Len(t, s.JWKS().Keys, 2)
	c.now = c.now.Add(time.Second)
	require.Len(t, s.JWKS().Keys, 1, "the last token of the retired key has expired")
	_, err = s.Key(old)
	require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err))
}

func TestLeakedKeyIsOutAtOnce(t *testing.T) {
	s, _, _ := open(t)
	leaked, _ := sign(t, s)
	require.Equal(t, "key_active", agentid.ReasonOf(s.Retire(t.Context(), leaked)))
	next, err := s.Stage(t.Context(), signer.AlgorithmEdDSA)
	require.NoError(t, err)
	require.NoError(t, s.ActivateNow(t.Context(), next.ID))
	require.NoError(t, s.Retire(t.Context(), leaked))
	_, err = s.Key(leaked)
	require.Error(t, err)
	require.Len(t, s.JWKS().Keys, 1)
}

func TestRotationRefuses(t *testing.T) {
	s, m, _ := open(t)
	active, _ := sign(t, s)
	require.Equal(t, agentid.KindNotFound, agentid.KindOf(s.Activate(t.Context(), "../../dev/null")))
	require.Equal(t, "key_active", agentid.ReasonOf(s.Activate(t.Context(), active)))
	_, err := s.Stage(t.Context(), "none")
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
	_, err = s.Stage(t.Context(), "HS256")
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))

	m.fail = errors.New("disk")
	_, err = s.Stage(t.Context(), signer.AlgorithmEdDSA)
	require.ErrorIs(t, err, m.fail)
	require.Len(t, s.JWKS().Keys, 1)
	kid, _ := sign(t, s)
	require.Equal(t, active, kid, "the view that was there stays")
}

func TestBrokenStoreIsRefused(t *testing.T) {
	for name, breakIt := range map[string]func(*memory){
		"no state":        func(m *memory) { m.keys[0].State = 0 },
		"two active":      func(m *memory) { m.keys = append(m.keys, m.keys[0]) },
		"not a key":       func(m *memory) { m.keys[0].Private = agentid.NewSecret("x") },
		"other algorithm": func(m *memory) { m.keys[0].Algorithm = signer.AlgorithmES256 },
	} {
		t.Run(name, func(t *testing.T) {
			s, m, _ := open(t)
			breakIt(m)
			require.Error(t, s.Reload(t.Context()))
			require.Len(t, s.JWKS().Keys, 1)
		})
	}
}

func TestKeySetHoldsNoPrivateHalf(t *testing.T) {
	s, m, _ := open(t)
	_, err := s.Stage(t.Context(), signer.AlgorithmES256)
	require.NoError(t, err)
	text, err := json.Marshal(s.JWKS())
	require.NoError(t, err)
	require.NotContains(t, string(text), `"d"`)
	shown, err := json.Marshal(m.keys)
	require.NoError(t, err)
	require.Contains(t, string(shown), "[redacted]")
}
