package clientauth

import (
	"context"
	"net/http"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// Bearer authenticates an agent by a client assertion in the Authorization header, at
// endpoints that take no form. The assertion is for the issuer, as at the token endpoint,
// and is used up by whatever it asks for. The errors are those of Agent.
func (a *Authenticator) Bearer(ctx context.Context, issuer string, r *http.Request) (Client, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return Client{}, agentid.Errorf(agentid.KindUnauthenticated, httperr.ReasonCredentialMissing, "a client assertion is required")
	}
	scheme, assertion, ok := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || assertion == "" {
		return Client{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_malformed", "want one Authorization: Bearer header with a client assertion")
	}
	return a.agent(ctx, issuer, presented{method: PrivateKeyJWT, assertion: assertion})
}
