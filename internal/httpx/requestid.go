package httpx

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	unique "math/rand/v2"
	"net/http"
	"time"
)

// HeaderRequestID carries the request's id to the caller.
const HeaderRequestID = "X-Request-Id"

type requestIDKey struct{}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns 128 random bits as 26 lower-case letters and digits, fit for a
// jti or a record id.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
	return idEncoding.EncodeToString(b[:])
}

// newRequestID is a ULID in lower case: 48 bits of milliseconds, then 80 random bits. Ids of
// one moment stand together in an index, which makes them cheap to keep.
func newRequestID(now time.Time) string {
	var b [16]byte
	// Unique, and no secret: the runtime's ChaCha8 will do.
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMilli())<<16|unique.Uint64()>>48) //nolint:gosec // not a secret
	binary.BigEndian.PutUint64(b[8:], unique.Uint64())                                //nolint:gosec // not a secret
	return idEncoding.EncodeToString(b[:])
}

// RequestID is the id that WithRequestID gave, or "" outside of it.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// WithRequestID gives every request a fresh id, in its context and in the response.
// An id that the peer sends is not used: ids link audit rows and must be ours.
func WithRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := newRequestID(time.Now())
		w.Header().Set(HeaderRequestID, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}
