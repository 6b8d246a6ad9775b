package schema

import (
	"crypto/sha256"
	_ "embed" // the fragments are part of the program
	"encoding/hex"
	"sync"
)

//go:embed base.zed
var baseText string

//go:embed payments.zed
var paymentsText string

// Builtin returns the fragments that are part of the program: the base and one per
// built-in connector. An operator's own fragments are appended to these.
func Builtin() []Fragment {
	return []Fragment{{Name: "base", Text: baseText}, {Name: "payments", Text: paymentsText}}
}

// builtinText is composed once. The embedded fragments are constants and a test
// composes them, so an error here means a broken build; Text then is empty, which
// SpiceDB answers with "no such type" to everything.
var builtinText = sync.OnceValues(func() (string, error) { return Compose(Builtin()...) })

// Text is the composed built-in schema. Apply reports the error that would leave it empty.
func Text() string {
	text, err := builtinText()
	if err != nil {
		return ""
	}
	return text
}

// Version is the digest of Text: the base of a policy version.
func Version() string { return Digest(Text()) }

// Digest names a schema text: the SHA-256 of it, in hexadecimal.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
