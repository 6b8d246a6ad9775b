package api

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/wire"
)

// headerConnector ties a sealed credential to its connector.
const headerConnector = "connector"

// Seal writes a connector down for the holder of a certificate: its credential as a JWE
// (RFC 7516, ECDH-ES on the certificate's P-256 key, A256GCM), so that what terminates
// TLS, or records it, does not hold the credential.
func Seal(c wire.Connector, to *x509.Certificate) (Connector, error) {
	out := Connector{
		Ref: c.Ref, Kind: c.Kind, Resource: c.Resource, Upstream: c.Upstream, AllowPrivateUpstream: c.AllowPrivateUpstream,
		AllowBearer: c.AllowBearer, StrictReadAudit: c.StrictReadAudit, IntrospectionOnly: c.IntrospectionOnly,
		BearerLifetime: c.BearerLifetime, Rates: c.Rates, Version: c.Version,
	}
	if c.Credential.IsZero() {
		return out, nil
	}
	key, err := fleetcert.PublicKey(to)
	if err != nil {
		return Connector{}, err
	}
	sealer, err := jose.NewEncrypter(jose.A256GCM,
		jose.Recipient{Algorithm: jose.ECDH_ES, Key: key, KeyID: fleetcert.Fingerprint(to)},
		(&jose.EncrypterOptions{}).WithHeader(headerConnector, c.Ref.String()))
	if err != nil {
		return Connector{}, fmt.Errorf("seal a credential: %w", err)
	}
	sealed, err := sealer.Encrypt([]byte(c.Credential.Reveal()))
	if err != nil {
		return Connector{}, fmt.Errorf("seal a credential: %w", err)
	}
	if out.Sealed, err = sealed.CompactSerialize(); err != nil {
		return Connector{}, fmt.Errorf("seal a credential: %w", err)
	}
	return out, nil
}

// Unseal reads a connector. keys gives the private key of a certificate by its
// fingerprint. A credential that is not sealed for this connector is an error.
func Unseal(c Connector, keys func(fingerprint string) (crypto.PrivateKey, error)) (wire.Connector, error) {
	out := wire.Connector{
		Ref: c.Ref, Kind: c.Kind, Resource: c.Resource, Upstream: c.Upstream, AllowPrivateUpstream: c.AllowPrivateUpstream,
		AllowBearer: c.AllowBearer, StrictReadAudit: c.StrictReadAudit, IntrospectionOnly: c.IntrospectionOnly,
		BearerLifetime: c.BearerLifetime, Rates: c.Rates, Version: c.Version,
	}
	if c.Sealed == "" {
		return out, nil
	}
	sealed, err := jose.ParseEncryptedCompact(c.Sealed, []jose.KeyAlgorithm{jose.ECDH_ES}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return wire.Connector{}, fmt.Errorf("open a credential: %w", err)
	}
	if sealed.Header.ExtraHeaders[headerConnector] != c.Ref.String() {
		return wire.Connector{}, errors.New("open a credential: sealed for another connector")
	}
	key, err := keys(sealed.Header.KeyID)
	if err != nil {
		return wire.Connector{}, err
	}
	plain, err := sealed.Decrypt(key)
	if err != nil {
		return wire.Connector{}, fmt.Errorf("open a credential: %w", err)
	}
	out.Credential = agentid.NewSecret(string(plain))
	return out, nil
}
