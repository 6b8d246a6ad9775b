package keyset

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Reasons why an issuer's documents are not usable, all KindUpstream. The message is for
// whoever configures the issuer.
const (
	ReasonUnreachable = "issuer_unreachable"      // no answer, or not with 200
	ReasonDocument    = "issuer_document_invalid" // not what it should be
	ReasonDiffers     = "issuer_differs"          // the document is of another issuer
)

// Metadata is an issuer's discovery document.
type Metadata struct {
	Issuer   string
	KeysURL  string           // jwks_uri
	Document strictjson.Value // all of it
}

// Discover fetches issuer's discovery document (OpenID Connect Discovery 1.0 section 4).
// The issuer in it must be issuer byte for byte, and the URL of the keys one that the
// client speaks to: the client decides on addresses and schemes.
func Discover(ctx context.Context, client *http.Client, issuer string) (Metadata, error) {
	data, err := get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return Metadata{}, err
	}
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: MaxBytes})
	if err != nil || v.Kind() != strictjson.Object {
		return Metadata{}, unusable(ReasonDocument, "the discovery document is not strict JSON", err)
	}
	m := Metadata{Document: v}
	m.Issuer, _ = v.Get("issuer").Text()
	m.KeysURL, _ = v.Get("jwks_uri").Text()
	if m.Issuer != issuer {
		return Metadata{}, unusable(ReasonDiffers, "the discovery document names another issuer", nil)
	}
	if m.KeysURL == "" {
		return Metadata{}, unusable(ReasonDocument, "the discovery document has no jwks_uri", nil)
	}
	return m, nil
}

func (s *Set) discovered(ctx context.Context) (jose.JSONWebKeySet, error) {
	m, err := Discover(ctx, s.cfg.Client, s.cfg.Issuer)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	return fetchKeys(ctx, s.cfg.Client, m.KeysURL)
}

func fetchKeys(ctx context.Context, client *http.Client, url string) (jose.JSONWebKeySet, error) {
	data, err := get(ctx, client, url)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	set, err := parse(data)
	if err != nil {
		return jose.JSONWebKeySet{}, unusable(ReasonDocument, "the key set is refused", err)
	}
	return set, nil
}

// get fetches a document. A redirect is no answer.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, unusable(ReasonDocument, "the URL does not parse", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, unusable(ReasonUnreachable, "it could not be reached", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, unusable(ReasonUnreachable, fmt.Sprintf("it answered with status %d", resp.StatusCode), nil)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxBytes+1))
	switch {
	case err != nil:
		return nil, unusable(ReasonUnreachable, "its document could not be read", err)
	case len(data) > MaxBytes:
		return nil, unusable(ReasonDocument, fmt.Sprintf("its document is longer than %d bytes", MaxBytes), nil)
	}
	return data, nil
}

func unusable(reason, message string, cause error) error {
	return &agentid.Error{Kind: agentid.KindUpstream, Reason: reason, Message: message, Cause: cause}
}
