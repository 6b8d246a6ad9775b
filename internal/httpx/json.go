package httpx

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// NoStore marks a response that no cache may keep (RFC 6749 section 5.1).
func NoStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}

// WriteJSON answers status with v as JSON that nobody may store or sniff. It is for
// success: refusals go through internal/httperr. The error is for the log; by then
// the peer is gone.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	NoStore(w.Header())
	return WriteBytes(w, status, "application/json", append(body, '\n'))
}

// WriteBytes answers status with a body that may not be sniffed. Caching is the
// caller's to say.
func WriteBytes(w http.ResponseWriter, status int, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
