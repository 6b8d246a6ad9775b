package strictjson

import (
	"strings"
	"unicode"
)

// fold maps names that strings.EqualFold calls equal to one text: each rune to
// the smallest of its simple case foldings.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, s)
}
