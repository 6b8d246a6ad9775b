package paysim

import (
	"net/http"
)

// replay is what one Idempotency-Key led to.
type replay struct {
	digest [32]byte
	done   bool
	result answer
}

// once runs a POST with an Idempotency-Key at most one time: the same key with the
// same request gets the stored answer, with another request a 400, and while the
// first is under way a 409. As at Stripe, an answer that refused the parameters is
// not stored, so it may be tried again with better ones.
func (s *Simulator) once(c call, digest [32]byte, run func(call) answer) (answer, bool) {
	if c.key == "" || c.method != http.MethodPost {
		return run(c), false
	}
	s.mu.Lock()
	if seen, ok := s.replays[c.key]; ok {
		defer s.mu.Unlock()
		switch {
		case seen.digest != digest:
			return refuse(http.StatusBadRequest, fault{
				Type:    "idempotency_error",
				Message: "Keys for idempotent requests can only be used with the same parameters they were first used with.",
			}), false
		case !seen.done:
			return refuse(http.StatusConflict, fault{
				Type: "idempotency_error", Code: "idempotency_key_in_use",
				Message: "There is currently another in-progress request using this Idempotency-Key.",
			}), false
		}
		return seen.result, true
	}
	entry := &replay{digest: digest}
	s.replays[c.key] = entry
	s.mu.Unlock()

	result := run(c)

	s.mu.Lock()
	defer s.mu.Unlock()
	if result.status >= http.StatusBadRequest {
		delete(s.replays, c.key)
		return result, false
	}
	entry.done, entry.result = true, result
	return result, false
}
