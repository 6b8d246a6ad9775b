package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// KindCaller is the source's kind for presigned GetCallerIdentity requests.
const KindCaller = "aws_caller"

// ReasonUnavailable is the reason of KindUnavailable: STS did not answer.
const ReasonUnavailable = "sts_unavailable"

const (
	maxAnswer = 64 << 10
	retry     = 2 * time.Second
)

// CallerConfig configures NewCaller. Issuer and Client are required.
type CallerConfig struct {
	Issuer string // https://sts.{region}.amazonaws.com: the one host that a request may be for
	// Client sends the request; egress.Client, which follows no redirect.
	Client *http.Client
	// Endpoint is where requests are sent instead, with the issuer's Host: a private
	// endpoint of the region's STS. Empty: the issuer.
	Endpoint string
}

// Caller takes presigned GetCallerIdentity requests of one region. It implements
// federation.Source.
type Caller struct {
	cfg  CallerConfig
	host string
}

// CheckCallerIssuer says whether issuer is a region's STS, and its host.
func CheckCallerIssuer(issuer string) (host string, err error) {
	host, ok := strings.CutPrefix(issuer, "https://")
	if !ok || !hosts.MatchString(host) {
		return "", agentid.Invalidf("issuer", "want https://sts.{region}.amazonaws.com")
	}
	return host, nil
}

// NewCaller makes the source.
func NewCaller(cfg CallerConfig) (*Caller, error) {
	host, err := CheckCallerIssuer(cfg.Issuer)
	if err != nil {
		return nil, err
	}
	if cfg.Client == nil {
		return nil, errors.New("aws: an HTTP client is required")
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = cfg.Issuer
	}
	return &Caller{cfg: cfg, host: host}, nil
}

// Kind implements federation.Source.
func (*Caller) Kind() string { return KindCaller }

// Issuer implements federation.Source.
func (c *Caller) Issuer() string { return c.cfg.Issuer }

// Verify implements federation.Source. The request is sent with the first of p.Audiences
// in the header that its signature covers, so that it verifies only if it was made for us.
func (c *Caller) Verify(ctx context.Context, p federation.Presented) (federation.Identity, *federation.Trace, error) {
	t := new(federation.Trace)
	id, err := c.verify(ctx, p, t)
	return id, t, err
}

func (c *Caller) verify(ctx context.Context, p federation.Presented, t *federation.Trace) (federation.Identity, error) {
	if len(p.Audiences) == 0 {
		return federation.Identity{}, t.Fail(federation.StepAudience, federation.Refuse(federation.ReasonAudience, AudienceHeader, "no audience is ours", nil))
	}
	req, err := parse(p.Token, c.host, p.Now)
	if err != nil {
		return federation.Identity{}, t.Fail(federation.StepToken, federation.Refuse(keyset.ReasonMalformed, "", "is not a presigned request that is sent: "+err.Error(), err))
	}
	t.Pass(federation.StepToken, "a presigned GetCallerIdentity")
	t.Pass(federation.StepIssuer, c.cfg.Issuer)
	answer, err := c.ask(ctx, req, p.Audiences[0])
	if err != nil {
		return federation.Identity{}, t.Fail(federation.StepSignature, err)
	}
	t.Pass(federation.StepSignature, "STS accepts it")
	t.Pass(federation.StepAudience, p.Audiences[0])
	t.Pass(federation.StepTime, "until "+req.expires.UTC().Format(time.RFC3339))
	id, err := identity(answer)
	if err != nil {
		return federation.Identity{}, t.Fail(federation.StepClaims, err)
	}
	id.Source, id.Issuer, id.Audience, id.ID, id.Expires = KindCaller, c.cfg.Issuer, p.Audiences[0], req.signature, req.expires
	t.Pass(federation.StepClaims, "sub "+id.Subject)
	return id, nil
}

// ask sends the request as it was signed, and reads what STS says.
func (c *Caller) ask(ctx context.Context, p presigned, audience string) (strictjson.Value, error) {
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.cfg.Endpoint, "/")+"/", nil)
	if err != nil {
		return strictjson.Value{}, unavailable(err)
	}
	out.URL = &url.URL{Scheme: out.URL.Scheme, Host: out.URL.Host, Path: "/", RawQuery: p.query}
	out.Host = c.host
	out.Header.Set(AudienceHeader, audience)
	out.Header.Set("Accept", "application/json")
	resp, err := c.cfg.Client.Do(out)
	if err != nil {
		return strictjson.Value{}, unavailable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil || len(data) > maxAnswer:
		return strictjson.Value{}, unavailable(errors.Join(err, errors.New("the answer could not be read")))
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusBadRequest, resp.StatusCode == http.StatusUnauthorized:
		return strictjson.Value{}, federation.Refuse(keyset.ReasonSignature, "", "STS does not accept the request", fmt.Errorf("status %d", resp.StatusCode))
	case resp.StatusCode != http.StatusOK:
		return strictjson.Value{}, unavailable(fmt.Errorf("status %d", resp.StatusCode))
	}
	v, err := strictjson.Parse(data, strictjson.Limits{})
	if err != nil {
		return v, unavailable(err)
	}
	return v.Get("GetCallerIdentityResponse").Get("GetCallerIdentityResult"), nil
}

func unavailable(cause error) error {
	return httperr.WithRetryAfter(agentid.Unavailable(ReasonUnavailable, cause), retry)
}

var (
	sessionARN = regexp.MustCompile(`\Aarn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([A-Za-z0-9+=,.@_-]{1,64})/([A-Za-z0-9+=,.@_-]{1,64})\z`)
	uniqueID   = regexp.MustCompile(`\A(AROA[A-Z0-9]{8,124}):([A-Za-z0-9+=,.@_-]{1,64})\z`)
	account    = regexp.MustCompile(`\A[0-9]{12}\z`)
)

// identity reads a role's session. The subject is the role without the session's name,
// which whoever assumes the role chooses; role_id is the role's id, which is never given
// to another. Users and the root of an account are refused.
func identity(v strictjson.Value) (federation.Identity, error) {
	number, _ := v.Get("Account").Text()
	arn, _ := v.Get("Arn").Text()
	user, _ := v.Get("UserId").Text()
	session, unique := sessionARN.FindStringSubmatch(arn), uniqueID.FindStringSubmatch(user)
	if !account.MatchString(number) || session == nil || unique == nil || session[2] != number || session[4] != unique[2] {
		return federation.Identity{}, federation.Refuse(federation.ReasonClaim, "arn", "is not the session of a role", nil)
	}
	subject := "arn:" + session[1] + ":sts::" + number + ":assumed-role/" + session[3]
	return federation.Identity{Subject: subject, Claims: federation.Claims{
		"sub": subject, "aws_account": number, "arn": arn, "role": session[3], "role_id": unique[1], "session": session[4],
	}}, nil
}
