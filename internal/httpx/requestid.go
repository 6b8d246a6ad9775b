package httpx

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
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
	_, _ = rand.Read(b[6:]) // as in NewID
	ms := uint64(now.UnixMilli())
	b[0], b[1] = byte(ms>>40), byte(ms>>32)
	binary.BigEndian.PutUint32(b[2:], uint32(ms))
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
