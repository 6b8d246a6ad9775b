package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// ParseURL reads a URL that the Client may be sent to: absolute, https, or http to
// loopback where private addresses are allowed; with a host, without user, query and
// fragment. The error says what is wrong in words for whoever configured it.
func ParseURL(text string, allowPrivate bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("want an absolute https URL")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("want a URL without user, query and fragment")
	}
	loopback := strings.EqualFold(u.Hostname(), "localhost")
	address, err := netip.ParseAddr(u.Hostname())
	if err == nil {
		loopback = address.IsLoopback()
		if !Permitted(address, allowPrivate) {
			return nil, fmt.Errorf("%s: %w", u.Host, ErrBlocked)
		}
	}
	switch {
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && loopback && allowPrivate:
		return u, nil
	case u.Scheme == "http" && loopback:
		return nil, errors.New("http is for loopback, where private addresses are allowed")
	}
	return nil, ErrInsecure
}
