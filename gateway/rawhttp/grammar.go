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

var (
	endOfHead, endOfLine, colon           = []byte("\r\n\r\n"), []byte("\r\n"), []byte(":")
	host, contentLength, transferEncoding = []byte("host"), []byte("content-length"), []byte("transfer-encoding")
)

// check holds a complete head against RFC 9112, and against what readers differ on.
func check(head []byte) (framing, string) {
	top, rest, more := bytes.Cut(bytes.TrimSuffix(head, endOfHead), endOfLine)
	first := string(top)
	if reason := requestLine(first); reason != "" {
		return framing{}, reason
	}
	var hosts, lengths, codings []string
	for more {
		var line []byte
		line, rest, more = bytes.Cut(rest, endOfLine)
		if len(line) == 0 || line[0] == ' ' || line[0] == '\t' {
			return framing{}, ReasonObsFold
		}
		name, value, ok := bytes.Cut(line, colon)
		if !ok || !isToken(name) || !isText(value) {
			return framing{}, ReasonMalformed
		}
		var into *[]string
		switch {
		case bytes.EqualFold(name, host):
			into = &hosts
		case bytes.EqualFold(name, contentLength):
			into = &lengths
		case bytes.EqualFold(name, transferEncoding):
			into = &codings
		default:
			continue
		}
		*into = append(*into, string(bytes.Trim(value, " \t")))
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
	if len(parts) != 3 || !isToken([]byte(parts[0])) || parts[1] == "" {
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
func isToken(s []byte) bool {
	for _, c := range s {
		if !tokenByte[c] {
			return false
		}
	}
	return len(s) > 0
}

var tokenByte = func() (all [256]bool) {
	for c := range all {
		all[c] = isAlnum(byte(c)) || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return all
}()

// isText reports a value without control characters but tabs. A token of a deep lineage has
// thousands of bytes: they are looked at as bytes, not decoded.
func isText(s []byte) bool {
	for _, c := range s {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

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
