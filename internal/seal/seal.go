// Package seal encrypts what must not rest in the clear: upstream credentials and
// private signing keys. It owns the sealing key, its file and the form of a sealed
// value. Where sealed values are kept is the ledger's.
//
// # The key's place
//
// The key is one line of text, "agentid-seal-1:" and 32 bytes in base64url. By default
// it is a file of mode 0600 beside the ledger, made at the first start; its place is
// configurable (File), or it comes from the environment (FromText). A file that others
// may read, that belongs to another user, or that is not a key is refused.
//
// # Backup
//
// Back the key up when it is made, and apart from the ledger: who has both can read
// every upstream credential. A ledger without its key cannot be opened. It then has to
// be restored together with the key, or begun anew with all credentials entered again.
// At start the key is tried on a sentinel in the ledger, so that a wrong key is found
// before anything is served.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/agentid-dev/agentid"
)

const (
	prefix    = "agentid-seal-1:"
	keySize   = 32
	idSize    = 8
	formV1    = 1
	headSize  = 1 + idSize
	nonceSize = 12
	tagSize   = 16
)

var (
	// ErrWrongKey is a value that another key sealed.
	ErrWrongKey = errors.New("seal: sealed with another key")
	// ErrCorrupt is a value that was changed, cut, or sealed for another row.
	ErrCorrupt = errors.New("seal: the sealed value is damaged or belongs elsewhere")
	errNotKey  = errors.New("seal: not a sealing key: want one line, " + prefix + " and 32 bytes in base64url")
)

// Key seals and opens. It cannot be printed, logged or encoded. A nil or zero Key
// refuses to do either.
type Key struct {
	aead cipher.AEAD
	id   [idSize]byte
}

// FromText reads a key from its text form, as it stands in a file or in an
// environment variable.
func FromText(text agentid.Secret) (*Key, error) {
	body, ok := strings.CutPrefix(strings.TrimSuffix(text.Reveal(), "\n"), prefix)
	if !ok {
		return nil, errNotKey
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != keySize {
		return nil, errNotKey // the cause could hold parts of the key
	}
	return newKey(raw)
}

// Generate makes a key and its text form.
func Generate() (*Key, agentid.Secret, error) {
	raw := make([]byte, keySize)
	if _, err := rand.Read(raw); err != nil {
		return nil, agentid.Secret{}, fmt.Errorf("seal: %w", err)
	}
	k, err := newKey(raw)
	return k, agentid.NewSecret(prefix + base64.RawURLEncoding.EncodeToString(raw) + "\n"), err
}

func newKey(raw []byte) (*Key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	k := &Key{aead: aead}
	sum := sha256.Sum256(append([]byte("agentid seal key id\x00"), raw...))
	copy(k.id[:], sum[:])
	return k, nil
}

// ID names the key without telling anything of it: 16 hex digits.
func (k *Key) ID() string { return hex.EncodeToString(k.id[:]) }

// Seal encrypts plaintext with AES-256-GCM under a random nonce. The place is where
// the value will rest (table, row): it opens only there. One key may seal up to 2³²
// values.
func (k *Key) Seal(plaintext []byte, place ...string) ([]byte, error) {
	if k == nil || k.aead == nil {
		return nil, errors.New("seal: no key")
	}
	out := make([]byte, headSize+nonceSize, headSize+nonceSize+len(plaintext)+tagSize)
	out[0] = formV1
	copy(out[1:], k.id[:])
	nonce := out[headSize:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return k.aead.Seal(out, nonce, plaintext, associated(out[:headSize], place)), nil
}

// Open decrypts what Seal made for the same place. It gives ErrWrongKey or ErrCorrupt,
// and never part of a value.
func (k *Key) Open(sealed []byte, place ...string) ([]byte, error) {
	if k == nil || k.aead == nil {
		return nil, errors.New("seal: no key")
	}
	if len(sealed) < headSize+nonceSize+tagSize || sealed[0] != formV1 {
		return nil, ErrCorrupt
	}
	if [idSize]byte(sealed[1:headSize]) != k.id {
		return nil, fmt.Errorf("%w: %s, this one is %s", ErrWrongKey, hex.EncodeToString(sealed[1:headSize]), k.ID())
	}
	nonce, body := sealed[headSize:headSize+nonceSize], sealed[headSize+nonceSize:]
	plain, err := k.aead.Open(nil, nonce, body, associated(sealed[:headSize], place))
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}

// associated is head and place, each part with its length, so that no two places
// give the same bytes.
func associated(head []byte, place []string) []byte {
	out := append([]byte{}, head...)
	for _, p := range place {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

// Format implements fmt.Formatter: no verb reaches the key.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[sealing key " + k.ID() + "]")) }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue("[sealing key " + k.ID() + "]") }

// MarshalText implements encoding.TextMarshaler.
func (k *Key) MarshalText() ([]byte, error) { return []byte("[sealing key " + k.ID() + "]"), nil }
