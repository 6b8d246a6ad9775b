package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/agentid-dev/agentid/capability/jws"
)

const maxBundle = 1 << 20

// Fetch is a way to a trust domain's bundle.
type Fetch func(ctx context.Context, domain spiffeid.TrustDomain) (*spiffebundle.Bundle, error)

// File reads the bundle, a SPIFFE JWK Set, from a file.
func File(path string) Fetch {
	return func(_ context.Context, domain spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("bundle file: %w", err)
		}
		defer func() { _ = f.Close() }()
		return read(domain, f)
	}
}

// Endpoint fetches the bundle from a bundle endpoint with the https_web profile.
func Endpoint(client *http.Client, url string) Fetch {
	return func(ctx context.Context, domain spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, fmt.Errorf("bundle endpoint: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("bundle endpoint: %w", err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("bundle endpoint: it answered with status %d", resp.StatusCode)
		}
		return read(domain, resp.Body)
	}
}

func read(domain spiffeid.TrustDomain, r io.Reader) (*spiffebundle.Bundle, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if len(data) > maxBundle {
		return nil, fmt.Errorf("bundle: longer than %d bytes", maxBundle)
	}
	bundle, err := spiffebundle.Parse(domain, data)
	if err != nil {
		// The parser repeats a part of what it read, and a file's content is not for whoever
		// named its path.
		return nil, errors.New("bundle: it is not a SPIFFE bundle, a JWK Set with spiffe_sequence and keys for x509-svid or jwt-svid")
	}
	return bundle, nil
}

// WorkloadAPI asks the Workload API at an address such as unix:///run/spire/agent.sock. It
// knows the bundles of federated trust domains, too.
func WorkloadAPI(address string) Fetch {
	return func(ctx context.Context, domain spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
		client, err := workloadapi.New(ctx, workloadapi.WithAddr(address))
		if err != nil {
			return nil, fmt.Errorf("workload API: %w", err)
		}
		defer func() { _ = client.Close() }()
		out := spiffebundle.New(domain)
		jwts, errJWT := client.FetchJWTBundles(ctx)
		if errJWT == nil {
			if b, ok := jwts.Get(domain); ok {
				out.SetJWTAuthorities(b.JWTAuthorities())
			}
		}
		certs, errX509 := client.FetchX509Bundles(ctx)
		if errX509 == nil {
			if b, ok := certs.Get(domain); ok {
				out.SetX509Authorities(b.X509Authorities())
			}
		}
		if errJWT != nil && errX509 != nil {
			return nil, fmt.Errorf("workload API: %w", errors.Join(errJWT, errX509))
		}
		return out, nil
	}
}

// held is the bundle in force. A fetched one takes its place unless it goes back.
type held struct {
	domain spiffeid.TrustDomain
	fetch  Fetch

	mu     sync.Mutex
	bundle *spiffebundle.Bundle
}

// refresh fetches the bundle and gives its keys for JWT-SVIDs under the key policy. A
// bundle with a lower sequence number, or without one where there was one, is refused: the
// newer one stays.
func (h *held) refresh(ctx context.Context) (jose.JSONWebKeySet, error) {
	b, err := h.fetch(ctx, h.domain)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	if b.Empty() {
		return jose.JSONWebKeySet{}, errors.New("the bundle holds no authority of the trust domain")
	}
	var set jose.JSONWebKeySet
	for kid, public := range b.JWTAuthorities() {
		key := jose.JSONWebKey{Key: public, KeyID: kid}
		if !fits(key) {
			return jose.JSONWebKeySet{}, fmt.Errorf("the bundle's key %q is refused by the key policy", kid)
		}
		set.Keys = append(set.Keys, key)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bundle != nil {
		before, had := h.bundle.SequenceNumber()
		if after, has := b.SequenceNumber(); had && (!has || after < before) {
			return jose.JSONWebKeySet{}, fmt.Errorf("the bundle's sequence number goes back from %d", before)
		}
	}
	h.bundle = b
	return set, nil
}

func fits(key jose.JSONWebKey) bool {
	if key.KeyID == "" || len(key.KeyID) > jws.MaxKeyIDBytes {
		return false
	}
	for _, alg := range algorithms {
		if jws.CheckKey(key, alg) == nil {
			return true
		}
	}
	return false
}

func (h *held) authorities() []*x509.Certificate {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bundle == nil {
		return nil
	}
	return h.bundle.X509Authorities()
}
