package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentid-dev/agentid"
)

const (
	schemeFile = "file"
	schemeEnv  = "env"

	maxSecretFile = 64 << 10
	othersMayRead = 0o077
)

// Reference says where a secret is: "file:/path" or "env:NAME". A secret itself is
// refused, so that none is ever in a configuration file. The zero Reference is unset.
type Reference struct{ scheme, target string }

// ParseReference reads "file:…" or "env:…". The text is not repeated in the error.
func ParseReference(s string) (Reference, error) {
	scheme, target, ok := strings.Cut(s, ":")
	if !ok || target == "" || (scheme != schemeFile && scheme != schemeEnv) {
		return Reference{}, fmt.Errorf("expected a reference to a secret, file:/path or env:NAME, never the secret itself")
	}
	return Reference{scheme: scheme, target: target}, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Reference) UnmarshalText(text []byte) error {
	parsed, err := ParseReference(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// MarshalText implements encoding.TextMarshaler: the reference, not the secret.
func (r Reference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Sensitive keeps a refused value out of error excerpts.
func (Reference) Sensitive() {}

// String is the reference as written.
func (r Reference) String() string {
	if r.IsZero() {
		return ""
	}
	return r.scheme + ":" + r.target
}

// IsZero reports whether there is no reference.
func (r Reference) IsZero() bool { return r == Reference{} }

// Path is the file that a file: reference names, and whether it is one.
func (r Reference) Path() (string, bool) { return r.target, r.scheme == schemeFile }

func (r *Reference) resolve(base string) {
	if r.scheme == schemeFile && !filepath.IsAbs(r.target) {
		r.target = filepath.Join(base, r.target)
	}
}

// Read fetches the secret, without its trailing newline. A file that group or others
// may read, an empty secret and an unset variable are refused.
func (r Reference) Read() (agentid.Secret, error) {
	var text string
	switch r.scheme {
	case schemeEnv:
		text = os.Getenv(r.target)
	case schemeFile:
		info, err := os.Stat(r.target)
		if err != nil {
			return agentid.Secret{}, fmt.Errorf("%s: %w", r, err)
		}
		if info.Mode().Perm()&othersMayRead != 0 {
			return agentid.Secret{}, fmt.Errorf("%s: mode is %#o; a secret's file must be readable by its owner only (chmod 600)", r, info.Mode().Perm())
		}
		if info.Size() > maxSecretFile {
			return agentid.Secret{}, fmt.Errorf("%s: is larger than %d bytes", r, maxSecretFile)
		}
		data, err := os.ReadFile(r.target)
		if err != nil {
			return agentid.Secret{}, fmt.Errorf("%s: %w", r, err)
		}
		text = string(data)
	default:
		return agentid.Secret{}, fmt.Errorf("no reference to a secret is given")
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return agentid.Secret{}, fmt.Errorf("%s: is empty or not set", r)
	}
	return agentid.NewSecret(text), nil
}
