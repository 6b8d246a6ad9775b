package auditlog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a record, in bytes of escaped text and in entries.
const (
	MaxText     = 512 // one text; the ids are below this
	MaxLabel    = 128 // one text of a leg, a constraint or a note's name
	MaxLineage  = 33
	MaxLegs     = 64
	MaxOutcomes = 64
	MaxNotes    = 16
	// MaxEncoded bounds the bytes of one record: what all of the above come to.
	MaxEncoded = 96 << 10
)

// Clean makes text harmless to log, terminal and parser: invalid UTF-8, control and
// format characters, line and paragraph separators are escaped (\x1b, \u2028), and so
// is the backslash, so that no two texts look the same. What looks like a credential is
// redacted. A result over limit bytes is cut, with the length and a hash of the whole.
func Clean(text string, limit int) string {
	if len(text) <= limit && harmless(text) {
		return text
	}
	if plain(text) {
		text = redact(text)
		if len(text) <= limit {
			return text
		}
	}
	full := text
	text = redact(text)
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		piece := text[i : i+size]
		switch {
		case r == utf8.RuneError && size <= 1:
			piece = fmt.Sprintf(`\x%02x`, text[i])
		case r == '\\':
			piece = `\\`
		case r < 0x80 && (r < ' ' || r == 0x7f):
			piece = fmt.Sprintf(`\x%02x`, r)
		case !unicode.IsPrint(r) && r <= 0xffff:
			piece = fmt.Sprintf(`\u%04x`, r)
		case !unicode.IsPrint(r):
			piece = fmt.Sprintf(`\U%08x`, r)
		}
		if b.Len()+len(piece) > limit {
			return cut(b.String(), limit, full)
		}
		b.WriteString(piece)
		i += size
	}
	return b.String()
}

// cut shortens kept so that it and the mark fit in limit bytes.
func cut(kept string, limit int, full string) string {
	sum := sha256.Sum256([]byte(full))
	mark := fmt.Sprintf("...(%d bytes, sha256:%s)", len(full), hex.EncodeToString(sum[:16]))
	keep := max(0, limit-len(mark))
	for keep > 0 && !utf8.RuneStart(kept[keep]) {
		keep--
	}
	return kept[:keep] + mark
}

// harmless reports plain text without anything that every credential has near its beginning.
// Most texts are that, and one look is enough.
func harmless(s string) bool {
	dear := false
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
		dear = dear || c == '_' || c == '-' || c == 'J' || c == ' '
	}
	return !dear || len(s) < shortest || !suspect(s)
}

// plain reports printable ASCII without a backslash, which most texts are.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// credential matches what must never be in a log, should a caller put it there all the
// same: compact JWTs, API keys of known shapes, our own secrets, Authorization values.
var credential = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)*` +
	`|\b[sr]k_(live|test)_[A-Za-z0-9]{6,}|\bwhsec_[A-Za-z0-9]{6,}|\bgh[pousr]_[A-Za-z0-9]{16,}` +
	`|\bagentid_[a-z]+_[A-Za-z0-9_-]{20,}|agentid-seal-1:[A-Za-z0-9_-]+` +
	`|(?i:\b(bearer|dpop|basic)\s+[A-Za-z0-9._~+/=-]{8,})`)

// shortest is the length below which no text holds what credential matches.
const shortest = 12

func redact(s string) string {
	if len(s) < shortest || !suspect(s) { // the expression is dear, and seldom needed
		return s
	}
	return credential.ReplaceAllString(s, "[redacted]")
}

// suspect looks, in one pass, for what every credential has near its beginning.
func suspect(s string) bool {
	for i := range len(s) {
		before := s[:i]
		switch c := s[i]; {
		case c >= 0x80: // letters that fold into those of ASCII
			return true
		case c == 'J':
			if strings.HasSuffix(before, "ey") {
				return true
			}
		case c == '_':
			if strings.HasSuffix(before, "k") || strings.HasSuffix(before, "whsec") || strings.HasSuffix(before, "agentid") ||
				i >= 3 && s[i-3:i-1] == "gh" {
				return true
			}
		case c == '-':
			if strings.HasSuffix(before, "agentid") {
				return true
			}
		case c == ' ', c == '\t', c == '\n', c == '\f', c == '\r':
			for _, scheme := range []string{"bearer", "dpop", "basic"} {
				if n := len(scheme); i >= n && strings.EqualFold(s[i-n:i], scheme) {
					return true
				}
			}
		}
	}
	return false
}
