package capability

import (
	"strconv"
	"strings"
)

const maxName = 64

// isName admits the names of inputs, arguments and operations' parts: a lower-case
// letter, then lower-case letters, digits and '_'.
func isName(s string) bool {
	if s == "" || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// isFact admits names of facts: names joined by dots, "charge.refundable".
func isFact(s string) bool {
	if len(s) > maxName {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isName(part) {
			return false
		}
	}
	return true
}

// isOperation admits "payments:refund": a connector's kind and one of its actions.
func isOperation(s string) bool {
	kind, action, ok := strings.Cut(s, ":")
	return ok && isName(kind) && isFact(action)
}

// isCurrency admits an ISO 4217 code in lower case.
func isCurrency(s string) bool {
	return len(s) == 3 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == ""
}

// isText admits what may stand in a string limit: bounded, no control characters.
func isText(s string) bool {
	return s != "" && len(s) <= MaxText && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\u2028' || r == '\u2029' })
}

// printable makes a name from outside fit for an error's field.
func printable(s string) string {
	if isName(s) {
		return s
	}
	if len(s) > maxName {
		s = s[:maxName]
	}
	return strconv.QuoteToASCII(s)
}
