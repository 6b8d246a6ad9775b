// Package azure takes the tokens of managed identities and service principals of
// Microsoft Entra ID, of version 1 and 2.
//
// A workload cannot choose any audience: it asks for the application ID URI of an
// application that the tenant registered for this purpose, which becomes the audience of
// the rule. One issuer is one directory. Tokens of people are refused (idtyp).
package azure

import (
	"errors"
	"regexp"
	"strings"

	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// Kind is the source's kind.
const Kind = "azure"

var issuers = regexp.MustCompile(`\Ahttps://(?:sts\.windows\.net/([0-9a-f-]{36})/|login\.microsoftonline\.(?:com|us)/([0-9a-f-]{36})/v2\.0)\z`)

// Profile is what is particular to Entra ID. The issuer's directory must be the token's.
func Profile(issuer string) jwtsource.Profile {
	return jwtsource.Profile{
		Kind:        Kind,
		Required:    []string{"oid", "tid"},
		Binding:     []string{"oid", "sub", "xms_mirid"},
		CheckIssuer: checkIssuer,
		Check:       func(c federation.Claims) error { return check(c, Directory(issuer)) },
		Shared: func(audience string) bool {
			for _, known := range []string{
				"https://management.azure.com", "https://management.core.windows.net", "https://graph.microsoft.com",
				"https://vault.azure.net", "https://storage.azure.com", "api://AzureADTokenExchange", "00000003-0000-0000-c000-000000000000",
			} {
				if strings.TrimSuffix(audience, "/") == known {
					return true
				}
			}
			return false
		},
	}
}

// Directory is the directory (tid) of an issuer, "" when its form has none.
func Directory(issuer string) string {
	m := issuers.FindStringSubmatch(issuer)
	if m == nil {
		return ""
	}
	return m[1] + m[2]
}

func checkIssuer(issuer string) error {
	switch {
	case strings.HasPrefix(issuer, "http://"), strings.HasPrefix(issuer, "https://127."): // only where private addresses are allowed
		return nil
	case Directory(issuer) == "":
		return errors.New("want https://sts.windows.net/{directory}/ or https://login.microsoftonline.com/{directory}/v2.0")
	}
	return nil
}

func check(c federation.Claims, directory string) error {
	if tid, _ := c.Text("tid"); directory != "" && tid != directory {
		return federation.Refuse(federation.ReasonClaim, "tid", "is another directory than the issuer's", nil)
	}
	if kind, ok := c.Text("idtyp"); ok && kind != "app" {
		return federation.Refuse(federation.ReasonClaim, "idtyp", "is not an application's", nil)
	}
	if _, delegated := c.Text("scp"); delegated {
		return federation.Refuse(federation.ReasonClaim, "scp", "the token is a person's, not a workload's", nil)
	}
	return nil
}
