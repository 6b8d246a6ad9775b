package capability

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func benchSign(b *testing.B, key func(*tokenKit) jose.SigningKey) {
	kit := newTokenKit(b)
	signer, err := NewSigner(key(kit))
	if err != nil {
		b.Fatal(err)
	}
	claims := goodClaims(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.Sign(claims); err != nil {
			b.Fatal(err)
		}
	}
}

func benchVerify(b *testing.B, key func(*tokenKit) jose.SigningKey) {
	kit := newTokenKit(b)
	token, err := Sign(goodClaims(b), key(kit))
	if err != nil {
		b.Fatal(err)
	}
	v := kit.verifier(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func ed(k *tokenKit) jose.SigningKey { return k.ed }
func ec(k *tokenKit) jose.SigningKey { return k.ec }

func BenchmarkSignEdDSA(b *testing.B)   { benchSign(b, ed) }
func BenchmarkSignES256(b *testing.B)   { benchSign(b, ec) }
func BenchmarkVerifyEdDSA(b *testing.B) { benchVerify(b, ed) }
func BenchmarkVerifyES256(b *testing.B) { benchVerify(b, ec) }

const benchConstraints = `{"amount":{"max":4200,"currency":"usd","at_most_fact":"charge.refundable"},"customer":{"is":"cus_123"},"reason":{"in":["duplicate","fraudulent"]},"uses":{"max":1}}`

func BenchmarkCheck(b *testing.B) {
	c := mustParse(b, benchConstraints)
	in := Inputs{"amount": Money{4200, "usd"}, "customer": "cus_123", "reason": "duplicate"}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Check(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWithin(b *testing.B) {
	parent := mustParse(b, benchConstraints)
	child := mustParse(b, benchConstraints)
	b.ReportAllocs()
	for b.Loop() {
		if err := child.Within(parent); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseConstraints(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseConstraints(json.RawMessage(benchConstraints)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	raw := []byte("[" + goodDetail + "]")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(raw); err != nil {
			b.Fatal(err)
		}
	}
}
