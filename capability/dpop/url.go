package dpop

import (
	"errors"
	"net/url"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

const maxURLBytes = 4096

// checkURL compares htu with the request's URL after the normalisation of RFC 3986
// sections 6.2.2 and 6.2.3, without query and fragment (RFC 9449 section 4.3).
func checkURL(htu strictjson.Value, want string) error {
	text, ok := htu.Text()
	if !ok {
		return invalid("htu")
	}
	have, err := normalURL(text)
	if err != nil {
		return invalid("htu").WithCause(err)
	}
	expected, err := normalURL(want)
	if err != nil {
		return agentid.Errorf(agentid.KindInternal, "internal", "the request's own URL is not absolute").WithCause(err)
	}
	if have != expected {
		return invalid("htu")
	}
	return nil
}

// normalURL gives scheme and host in lower case without the default port, and the
// path without dot segments and with percent-encoding in one form. Encoded
// separators stay encoded: they are another path.
func normalURL(s string) (string, error) {
	if len(s) > maxURLBytes {
		return "", errors.New("dpop: URL too long")
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.New("dpop: not a URL")
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "https" && scheme != "http" || u.Host == "" || u.User != nil || u.Opaque != "" {
		return "", errors.New("dpop: want an absolute http or https URL without user information")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if host == "" {
		return "", errors.New("dpop: URL without a host")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"https": "443", "http": "80"}[scheme] {
		host += ":" + port
	}
	return scheme + "://" + host + normalPath(u.EscapedPath()), nil
}

func normalPath(path string) string {
	var out []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, segment := range segments {
		segment = normalEscapes(segment)
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}

// normalEscapes decodes escapes of unreserved characters and writes the others in
// upper case.
func normalEscapes(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) {
			b.WriteByte(s[i])
			continue
		}
		decoded, err := url.PathUnescape(s[i : i+3])
		if err == nil && len(decoded) == 1 && unreserved(decoded[0]) {
			b.WriteString(decoded)
		} else {
			b.WriteString(strings.ToUpper(s[i : i+3]))
		}
		i += 2
	}
	return b.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
