package httpx

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"github.com/agentid-dev/agentid"
)

// ReadBody reads the whole body of at most limit bytes. Errors: KindTooLarge
// "body_too_large"; KindInvalid "body_unreadable" when the peer stopped or was too
// slow; KindInvalid "content_encoding" for a compressed body, which is never
// expanded. w may be nil; with it the connection closes after an oversized body.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, &agentid.Error{
			Kind: agentid.KindInvalid, Reason: "content_encoding", Field: "Content-Encoding",
			Message: "a compressed body is not accepted",
		}
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body, nil
	}
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge(limit)
	}
	reason := "body_unreadable"
	if errors.Is(err, os.ErrDeadlineExceeded) {
		reason = "body_timeout"
	}
	return nil, &agentid.Error{Kind: agentid.KindInvalid, Reason: reason, Message: "the body could not be read", Cause: err}
}

// CheckContentType refuses a Content-Type other than want ("application/json"); a
// charset parameter may say UTF-8 and nothing else. The error is KindInvalid
// "unsupported_media_type".
func CheckContentType(r *http.Request, want string) error {
	values := r.Header.Values("Content-Type")
	if len(values) == 1 {
		got, params, err := mime.ParseMediaType(values[0])
		charset, has := params["charset"]
		if err == nil && got == want && (!has || strings.EqualFold(charset, "utf-8")) && (len(params) == 0 || has && len(params) == 1) {
			return nil
		}
	}
	return &agentid.Error{
		Kind: agentid.KindInvalid, Reason: "unsupported_media_type", Field: "Content-Type",
		Message: "the body must be " + want,
	}
}

func tooLarge(limit int64) error {
	return agentid.Errorf(agentid.KindTooLarge, "body_too_large", "the body is over %d bytes", limit)
}
