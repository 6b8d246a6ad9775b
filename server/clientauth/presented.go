package clientauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// Method is how a client authenticated. The zero Method is none.
type Method int

// The methods.
const (
	PrivateKeyJWT     Method = iota + 1 // agents
	ClientSecretBasic                   // connectors' service clients, at introspection
	Workload                            // agents, by what an issuer outside says of them
)

// presented is the one credential of a request, not verified yet.
type presented struct {
	method    Method
	clientID  string // what the request says outside of the assertion; may be ""
	assertion string
	secret    agentid.Secret
}

// Presents says whether a request carries a credential of its own: an assertion, a secret,
// an Authorization header. More than one of these is for Agent to refuse.
func Presents(r *http.Request, form httpx.Form) bool {
	return form.Get("client_assertion") != "" || form.Get("client_assertion_type") != "" || form.Get("client_secret") != "" ||
		len(r.Header.Values("Authorization")) > 0
}

// read finds the one credential of a request. More than one method is invalid_request
// (RFC 6749 section 2.3), as is a half one; none is KindUnauthenticated
// "credential_missing".
func read(r *http.Request, form httpx.Form) (presented, error) {
	assertion, kind := form.Get("client_assertion"), form.Get("client_assertion_type")
	authorization := r.Header.Values("Authorization")
	methods := 0
	for _, used := range []bool{assertion != "" || kind != "", form.Get("client_secret") != "", len(authorization) > 0} {
		if used {
			methods++
		}
	}
	switch {
	case methods > 1 || len(authorization) > 1:
		return presented{}, agentid.Errorf(agentid.KindInvalid, "credential_ambiguous", "more than one way of client authentication is used")
	case methods == 0:
		return presented{}, agentid.Errorf(agentid.KindUnauthenticated, httperr.ReasonCredentialMissing, "client authentication is required")
	case len(authorization) == 1:
		return readBasic(authorization[0], form.Get("client_id"))
	case form.Get("client_secret") != "":
		return presented{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_method", "client_secret_post is not supported")
	case kind != clientauth.AssertionType:
		return presented{}, agentid.Invalidf("client_assertion_type", "want %s", clientauth.AssertionType)
	case assertion == "":
		return presented{}, agentid.Invalidf("client_assertion", "must not be empty")
	}
	return presented{method: PrivateKeyJWT, clientID: form.Get("client_id"), assertion: assertion}, nil
}

// readBasic reads HTTP Basic with both halves form-encoded (RFC 6749 section 2.3.1). A
// client id of ours holds a ':', so an id that a client did not encode is recognised by
// its type: "connector:acme/stripe:secret". Secrets that the broker makes hold no ':'.
func readBasic(header, formID string) (presented, error) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return presented{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_method", "the Authorization scheme is not supported here")
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return presented{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_malformed", "the Basic credential is not base64")
	}
	id, secret, ok := strings.Cut(string(text), ":")
	if ok && id == agentid.TypeConnector {
		var name string
		name, secret, ok = strings.Cut(secret, ":")
		id += ":" + name
	}
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if !ok || errID != nil || errSecret != nil || id == "" || secret == "" {
		return presented{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_malformed", "the Basic credential is not id:secret")
	}
	if formID != "" && formID != id {
		return presented{}, agentid.Invalidf("client_id", "differs from the Authorization header")
	}
	return presented{method: ClientSecretBasic, clientID: id, secret: agentid.NewSecret(secret)}, nil
}
