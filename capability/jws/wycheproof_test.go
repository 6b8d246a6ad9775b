package jws

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/go-jose/go-jose/v4"
)

type vectorFile struct {
	NumberOfTests int
	TestGroups    []struct {
		Type    string
		Comment string
		Private json.RawMessage
		Public  json.RawMessage
		Tests   []struct {
			TCID    int `json:"tcId"`
			Comment string
			Result  string
			Flags   []string
			JWS     json.RawMessage
		}
	}
}

func loadVectors(t testing.TB, name string) vectorFile {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// widest accepts every asymmetric algorithm, so that a vector is refused for what is
// wrong with it and not for its algorithm.
var widest = Policy{
	Types:      []string{"", "JWT", "JWS"},
	Algorithms: append([]jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.ES384, jose.ES512}, rsaAlgorithms...),
	MaxBytes:   64 << 10,
}

// vectorKeys reads the vector's key as something from outside: a key or a key set.
func vectorKeys(raw json.RawMessage) ([]jose.JSONWebKey, error) {
	if strings.Contains(string(raw), `"keys"`) {
		set, err := ParseKeySet(raw, KeySetPolicy{})
		return set.Keys, err
	}
	key, err := ParseKey(raw)
	return []jose.JSONWebKey{key}, err
}

func tryVector(raw, jwsRaw json.RawMessage) error {
	keys, err := vectorKeys(raw)
	if err != nil {
		return err
	}
	var compact string
	if json.Unmarshal(jwsRaw, &compact) != nil {
		compact = string(jwsRaw) // a JSON serialisation, written as an object
	}
	u, err := parseMessage(compact, widest)
	if err != nil {
		return err
	}
	err = faultf(FaultKey, "no key")
	for _, key := range keys {
		if len(keys) > 1 && key.KeyID != u.header.KeyID {
			continue
		}
		if err = u.verify(key); err == nil {
			return nil
		}
	}
	return err
}

// refusedByPolicy are the valid vectors that we refuse, and why.
var refusedByPolicy = map[string]map[int]string{
	"json_web_signature_test.json": {
		1: symmetric, 348: symmetric, 352: symmetric, 357: symmetric, 358: symmetric, 359: symmetric,
		372: symmetric, 373: symmetric, 376: symmetric, 377: symmetric,
		259: emptyPayload, 264: emptyPayload, 268: emptyPayload, 272: emptyPayload, 320: emptyPayload, 325: emptyPayload,
		346: otherAlgorithm, 350: otherAlgorithm, 347: noSuchAlgorithm, 351: noSuchAlgorithm,
	},
	"json_web_key_test.json":    {2: symmetric, 13: symmetric, 14: symmetric, 15: symmetric},
	"json_web_crypto_test.json": {1: symmetric, 48: symmetric},
}

const (
	symmetric       = "HMAC: a symmetric key is never a verification key"
	emptyPayload    = "an empty payload is not a token"
	otherAlgorithm  = "the JWK's alg differs from the header's"
	noSuchAlgorithm = "the JWK's alg is ES521, which is no registered algorithm"
)

// TestWycheproof: every invalid JWS and key vector is refused, every valid one is
// accepted unless it is listed with its reason.
func TestWycheproof(t *testing.T) {
	for name, listed := range refusedByPolicy {
		t.Run(name, func(t *testing.T) {
			file := loadVectors(t, name)
			refused, accepted, left := 0, 0, map[int]string{}
			for tc, why := range listed {
				left[tc] = why
			}
			for _, group := range file.TestGroups {
				raw := group.Public
				if raw == nil {
					raw = group.Private
				}
				for _, test := range group.Tests {
					if test.JWS == nil {
						continue // JWE
					}
					err := tryVector(raw, test.JWS)
					switch {
					case test.Result != "valid" && err == nil:
						t.Errorf("%d (%s: %s) is invalid and accepted", test.TCID, group.Comment, test.Comment)
					case test.Result == "valid" && (err != nil) != (listed[test.TCID] != ""):
						t.Errorf("%d (%s: %s) is valid: %v; listed: %q", test.TCID, group.Comment, test.Comment, err, listed[test.TCID])
					case err != nil:
						refused++
					default:
						accepted++
					}
					delete(left, test.TCID)
				}
			}
			if len(left) > 0 {
				t.Errorf("listed and not found: %v", left)
			}
			t.Logf("%d vectors: %d refused, %d accepted", file.NumberOfTests, refused, accepted)
			if refused+accepted == 0 {
				t.Fatal("no vectors were read")
			}
		})
	}
}

// TestWycheproofPrivateKeys: a key with its private part is never a verification key.
func TestWycheproofPrivateKeys(t *testing.T) {
	for name := range refusedByPolicy {
		for _, group := range loadVectors(t, name).TestGroups {
			if group.Private == nil || group.Type == "JsonWebEncryption" {
				continue
			}
			if keys, err := vectorKeys(group.Private); err == nil && len(keys) > 0 {
				t.Errorf("%s %s: private key accepted", name, group.Comment)
			}
		}
	}
}

// TestWycheproofJWERefused: an encrypted message is not a signed one.
func TestWycheproofJWERefused(t *testing.T) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "json_web_encryption_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			Tests []struct{ JWE json.RawMessage }
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, group := range file.TestGroups {
		for _, test := range group.Tests {
			var compact string
			if json.Unmarshal(test.JWE, &compact) != nil {
				compact = string(test.JWE)
			}
			count++
			if _, err := parseMessage(compact, widest); err == nil {
				t.Errorf("accepted %.60s", compact)
			}
		}
	}
	if count < 100 {
		t.Fatalf("only %d vectors", count)
	}
}
