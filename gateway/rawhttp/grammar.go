package rawhttp

import (
	"bytes"
	"strconv"
	"strings"
)

// framing is how long a request's body is.
type framing struct {
	length  int64
	chunked bool
}

// headEnd is where the head ends, behind its empty line; -1 while it is not complete.
// A line feed without its carriage return is a violation at once.
func headEnd(in []byte) (end int, reason string) {
	for at := 0; ; {
		i := bytes.IndexByte(in[at:], '\n')
		if i < 0 {
			return -1, ""
		}
		lf := at + i
		if lf == 0 || in[lf-1] != '\r' {
			return -1, ReasonBareLF
		}
		if lf-1 == at {
			return lf + 1, ""
		}
		at = lf + 1
	}
}

// check holds a complete head against RFC 9112, and against what readers differ on.
func check(head string) (framing, string) {
	first, rest, more := strings.Cut(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	if reason := requestLine(first); reason != "" {
		return framing{}, reason
	}
	var hosts, lengths, codings []string
	for more {
		var line string
		line, rest, more = strings.Cut(rest, "\r\n")
		if line == "" || line[0] == ' ' || line[0] == '\t' {
			return framing{}, ReasonObsFold
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.ContainsFunc(value, notText) {
			return framing{}, ReasonMalformed
		}
		value = strings.Trim(value, " \t")
		switch {
		case strings.EqualFold(name, "host"):
			hosts = append(hosts, value)
		case strings.EqualFold(name, "content-length"):
			lengths = append(lengths, value)
		case strings.EqualFold(name, "transfer-encoding"):
			codings = append(codings, value)
		}
	}
	if len(hosts) != 1 || !isHost(hosts[0]) {
		return framing{}, ReasonHost
	}
	_, target, _ := strings.Cut(first, " ")
	target, _, _ = strings.Cut(target, " ")
	if !targets(target, hosts[0]) {
		return framing{}, ReasonTarget
	}
	return frame(lengths, codings)
}

// frame admits one length of plain digits, or one coding that is chunked, or neither.
func frame(lengths, codings []string) (framing, string) {
	switch {
	case len(lengths)+len(codings) == 0:
		return framing{}, ""
	case len(lengths)+len(codings) > 1:
		return framing{}, ReasonFraming
	case len(codings) == 1:
		if !strings.EqualFold(codings[0], "chunked") {
			return framing{}, ReasonFraming
		}
		return framing{chunked: true}, ""
	}
	if lengths[0] == "" || len(lengths[0]) > 18 || strings.Trim(lengths[0], "0123456789") != "" {
		return framing{}, ReasonFraming
	}
	n, err := strconv.ParseInt(lengths[0], 10, 64)
	if err != nil {
		return framing{}, ReasonFraming
	}
	return framing{length: n}, ""
}

func requestLine(line string) string {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" {
		return ReasonMalformed
	}
	for i := range len(parts[1]) {
		c := parts[1][i]
		if c <= ' ' || c >= 0x7f {
			return ReasonMalformed
		}
		if c == '%' && (i+2 >= len(parts[1]) || !isHex(parts[1][i+1]) || !isHex(parts[1][i+2])) {
			return ReasonMalformed
		}
	}
	if parts[2] != "HTTP/1.1" {
		if strings.HasPrefix(parts[2], "HTTP/") {
			return ReasonVersion
		}
		return ReasonMalformed
	}
	return ""
}

// targets admits a path, "*", and an absolute form that names the same host. net/http
// would take the host of an absolute or authority form in place of the Host line.
func targets(target, host string) bool {
	if target[0] == '/' || target == "*" {
		return true
	}
	scheme, rest, absolute := strings.Cut(target, "://")
	authority, _, _ := strings.Cut(rest, "/")
	return absolute && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) && strings.EqualFold(authority, host)
}

// isToken is RFC 9110 section 5.6.2.
func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

func notText(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }

func isHost(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && strings.IndexByte(".-:[]", c) < 0 {
			return false
		}
	}
	return true
}

// hostOf finds a usable Host in a head that broke the grammar, so that the refusal
// can be written in the dialect of the connector that was meant.
func hostOf(head []byte) string {
	for line := range strings.SplitSeq(string(head), "\n") {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r"), ":")
		if ok && strings.EqualFold(name, "host") && isHost(strings.Trim(value, " \t")) {
			return strings.Trim(value, " \t")
		}
	}
	return "invalid"
}

func hexSize(s string) (int64, bool) {
	if s == "" || len(s) > 8 {
		return 0, false
	}
	for i := range len(s) {
		if !isHex(s[i]) {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 16, 64)
	return n, err == nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
