package httperr

import (
	"net/http"
	"strings"
)

// Protected describes a protected resource for its challenges.
type Protected struct {
	Metadata string   // URL of the RFC 9728 document
	Scopes   []string // every scope that the refused operation needs
	DPoPAlgs []string // proof algorithms that are accepted, such as "EdDSA"
	Bearer   bool     // plain Bearer is accepted too
}

// Challenges are the WWW-Authenticate values for err at p, one for each scheme that p
// accepts (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1). Without a
// credential the challenge names no error. Only 400, 401 and 403 have any.
func Challenges(err error, p Protected) []string {
	a := Of(err)
	switch a.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return nil
	}
	var common []string
	if p.Metadata != "" {
		common = append(common, param("resource_metadata", p.Metadata))
	}
	if len(p.Scopes) > 0 && a.Status != http.StatusBadRequest {
		common = append(common, param("scope", strings.Join(p.Scopes, " ")))
	}
	if a.Challenge != "" {
		common = append(common, param("error", a.Challenge))
		if d := Description(a.describe()); d != "" {
			common = append(common, param("error_description", d))
		}
	}
	dpop := common
	if len(p.DPoPAlgs) > 0 {
		dpop = append([]string{param("algs", strings.Join(p.DPoPAlgs, " "))}, common...)
	}
	out := []string{strings.TrimSpace("DPoP " + strings.Join(dpop, ", "))}
	if p.Bearer {
		out = append(out, strings.TrimSpace("Bearer "+strings.Join(bearerOnly(a, common), ", ")))
	}
	return out
}

// bearerOnly drops a DPoP error code, which the Bearer scheme does not know.
func bearerOnly(a Answer, params []string) []string {
	if a.Challenge != UseDPoPNonce && a.Challenge != InvalidDPoPProof {
		return params
	}
	var out []string
	for _, p := range params {
		if !strings.HasPrefix(p, "error") {
			out = append(out, p)
		}
	}
	return out
}

func param(name, value string) string { return name + `="` + Description(value) + `"` }
