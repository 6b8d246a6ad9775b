package login

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/server/ledger"
)

// client is a program that asks for a person to sign in. All are public: what protects a
// code is PKCE and where the browser is sent back to.
type client struct {
	id, display string
	redirects   []string
	loopback    bool // the command line: any port of a loopback address
}

// loopbackRedirect is where the command line listens (RFC 8252 section 7.3): a literal
// loopback address, any port, this path and nothing else.
var loopbackRedirect = regexp.MustCompile(`^http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})/callback$`)

// client finds a program by its client_id: KindUnauthenticated client_unknown.
func (s *Service) client(ctx context.Context, tenant, id string) (client, error) {
	if id == ledger.LoginCLI {
		return client{id: id, display: "agentid, the command line", loopback: true}, nil
	}
	unknown := agentid.Errorf(agentid.KindUnauthenticated, "client_unknown", "there is no such program here").WithField("client_id")
	if id == "" {
		return client{}, agentid.Invalidf("client_id", "is missing")
	}
	if _, err := agentid.ResourceRef(ledger.TypeLoginClient, tenant, id); err != nil {
		return client{}, unknown.WithCause(err)
	}
	c, err := s.cfg.Ledger.LoginClient(ctx, tenant, id)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return client{}, unknown.WithCause(err)
	}
	if c.Display == "" {
		c.Display = c.Name
	}
	return client{id: c.Name, display: c.Display, redirects: c.RedirectURIs}, err
}

// redirectURI holds a redirect URI against those that are registered, byte by byte (RFC
// 9700 section 2.1). Of the command line's, the port may vary.
func (c client) redirectURI(uri string) error {
	if slices.Contains(c.redirects, uri) {
		return nil
	}
	if found := loopbackRedirect.FindStringSubmatch(uri); c.loopback && found != nil {
		if port, err := strconv.Atoi(found[1]); err == nil && port <= 65535 {
			return nil
		}
	}
	return agentid.Errorf(agentid.KindInvalid, "redirect_uri_unknown", "is not one that this program registered").WithField("redirect_uri")
}

// errVerifier is the one answer to a code whose PKCE does not fit.
func errVerifier(message string) error {
	return httperr.WithCode(agentid.Errorf(agentid.KindInvalid, "pkce_invalid", "%s", message).WithField("code_verifier"), httperr.InvalidGrant)
}

var pkceText = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// checkChallenge wants a challenge by S256 (RFC 7636 section 4.3): no method means plain,
// which is refused as well.
func checkChallenge(challenge, method string) error {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	switch {
	case challenge == "":
		return agentid.Errorf(agentid.KindInvalid, "pkce_required", "PKCE is required: send a code_challenge").WithField("code_challenge")
	case method != "S256":
		return agentid.Errorf(agentid.KindInvalid, "pkce_method", "want S256").WithField("code_challenge_method")
	case err != nil || len(sum) != sha256.Size:
		return agentid.Errorf(agentid.KindInvalid, "pkce_invalid", "is not a SHA-256 in base64url").WithField("code_challenge")
	}
	return nil
}

// checkVerifier holds a verifier against the challenge of its code.
func checkVerifier(verifier, challenge string) error {
	switch {
	case challenge == "":
		return errVerifier("the code has no challenge")
	case verifier == "":
		return errVerifier("is missing")
	case !pkceText.MatchString(verifier):
		return errVerifier("is malformed")
	}
	sum := sha256.Sum256([]byte(verifier))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) != 1 {
		return errVerifier("does not fit the challenge")
	}
	return nil
}
