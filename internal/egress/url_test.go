package egress_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/egress"
)

func TestURLsThatMayBeFetched(t *testing.T) {
	for text, want := range map[string]struct{ public, private bool }{
		"https://issuer.example":            {true, true},
		"https://issuer.example:8443/a/b":   {true, true},
		"https://8.8.8.8/keys":              {true, true},
		"https://10.0.0.1/keys":             {false, true},
		"https://127.0.0.1/keys":            {false, true},
		"http://127.0.0.1:8080/keys":        {false, true},
		"http://[::1]:8080/keys":            {false, true},
		"http://localhost:8080":             {false, true},
		"http://issuer.example":             {},
		"http://10.0.0.1":                   {},
		"https://169.254.169.254/keys":      {},
		"https://[::ffff:127.0.0.1]/":       {},
		"https://issuer.example/?a=b":       {},
		"https://issuer.example/?":          {},
		"https://issuer.example/#":          {},
		"https://user@issuer.example":       {},
		"https:///nohost":                   {},
		"file:///etc/passwd":                {},
		"issuer.example":                    {},
		"":                                  {},
		"https:issuer.example":              {},
		"gopher://issuer.example":           {},
		"http://localhost.evil.example:80/": {},
	} {
		_, err := egress.ParseURL(text, false)
		require.Equal(t, want.public, err == nil, "%s: %v", text, err)
		_, err = egress.ParseURL(text, true)
		require.Equal(t, want.private, err == nil, "%s: %v", text, err)
	}
}
