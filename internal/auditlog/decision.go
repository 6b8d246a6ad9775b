package auditlog

import "fmt"

// String is "allow" or "deny"; anything that is not Allow is "deny".
func (d Decision) String() string {
	if d == Allow {
		return "allow"
	}
	return "deny"
}

// MarshalText implements encoding.TextMarshaler.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Decision) UnmarshalText(text []byte) error {
	switch string(text) {
	case "allow":
		*d = Allow
	case "deny":
		*d = Deny
	default:
		return fmt.Errorf("auditlog: %q is no decision", text)
	}
	return nil
}
