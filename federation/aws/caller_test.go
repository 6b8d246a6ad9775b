package aws_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/aws"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/egress"
)

const (
	region   = "eu-west-1"
	stsHost  = "sts." + region + ".amazonaws.com"
	emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var credentials = sdk.Credentials{AccessKeyID: "ASIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SessionToken: "session/token=="}

// sts stands in for a region's STS: it computes the signature of what it receives, by the
// documented rules of Signature Version 4, and answers as STS does.
type sts struct {
	server *httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
}

func newSTS(t *testing.T) *sts {
	s := &sts{}
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.server.Close)
	return s
}

func (s *sts) serve(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if h := s.answer.Load(); h != nil {
		(*h)(w, r)
		return
	}
	q := r.URL.Query()
	given := q.Get("X-Amz-Signature")
	q.Del("X-Amz-Signature")
	canonical := strings.Join([]string{
		r.Method, "/", strings.ReplaceAll(q.Encode(), "+", "%20"),
		"host:" + r.Host, aws.AudienceHeader + ":" + strings.TrimSpace(r.Header.Get(aws.AudienceHeader)), "",
		q.Get("X-Amz-SignedHeaders"), emptySum,
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	date := q.Get("X-Amz-Date")
	toSign := "AWS4-HMAC-SHA256\n" + date + "\n" + date[:8] + "/" + region + "/sts/aws4_request\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + credentials.SecretAccessKey)
	for _, part := range []string{date[:8], region, "sts", "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if hex.EncodeToString(key) != given || q.Get("X-Amz-Security-Token") != credentials.SessionToken {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"Error":{"Code":"SignatureDoesNotMatch"}}`)
		return
	}
	s.say(w, "123456789012", "arn:aws:sts::123456789012:assumed-role/Refunds/i-0abc", "AROA123456789EXAMPLE:i-0abc")
}

func (*sts) say(w http.ResponseWriter, account, arn, user string) {
	_, _ = fmt.Fprintf(w, `{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":%q,"Arn":%q,"UserId":%q},"ResponseMetadata":{"RequestId":"1"}}}`, account, arn, user)
}

func (s *sts) source(t *testing.T) *aws.Caller {
	client := egress.Client(egress.Config{AllowPrivate: true, Timeout: time.Second})
	t.Cleanup(client.CloseIdleConnections)
	c, err := aws.NewCaller(aws.CallerConfig{Issuer: "https://" + stsHost, Client: client, Endpoint: s.server.URL})
	require.NoError(t, err)
	return c
}

// presign makes a request as a workload does, with the AWS SDK.
func presign(t *testing.T, audience string, at time.Time, seconds int) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		fmt.Sprintf("https://%s/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=%d", stsHost, seconds), nil)
	require.NoError(t, err)
	r.Header.Set(aws.AudienceHeader, audience)
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), credentials, r, emptySum, "sts", region, at)
	require.NoError(t, err)
	return signed
}

func TestPresignedRequestIsTaken(t *testing.T) {
	s := newSTS(t)
	id, trace, err := s.source(t).Verify(t.Context(), federationtest.Present(presign(t, federationtest.Audience, federationtest.Now, 60)))
	require.NoError(t, err)
	require.Empty(t, trace.Failed())
	require.Equal(t, "arn:aws:sts::123456789012:assumed-role/Refunds", id.Subject)
	require.Equal(t, "https://"+stsHost, id.Issuer)
	require.Equal(t, federationtest.Audience, id.Audience)
	require.Equal(t, federationtest.Now.Add(time.Minute).Unix(), id.Expires.Unix())
	require.Len(t, id.ID, 64, "the signature: it is used once")
	role, _ := id.Claims.Text("role_id")
	require.Equal(t, "AROA123456789EXAMPLE", role)
}

// TestPresignedForAnotherIsRefused: the audience is under the signature.
func TestPresignedForAnotherIsRefused(t *testing.T) {
	s := newSTS(t)
	_, trace, err := s.source(t).Verify(t.Context(), federationtest.Present(presign(t, "https://broker.example/other", federationtest.Now, 60)))
	require.Equal(t, keyset.ReasonSignature, agentid.ReasonOf(err))
	require.Equal(t, federation.StepSignature, trace.Failed())
}

// TestPresignedRequestsThatAreNotSent: nothing leaves for a URL that is not exactly one of
// the region's STS.
func TestPresignedRequestsThatAreNotSent(t *testing.T) {
	s := newSTS(t)
	source := s.source(t)
	good := presign(t, federationtest.Audience, federationtest.Now, 60)
	u, err := url.Parse(good)
	require.NoError(t, err)
	with := func(name, value string) string {
		q := u.Query()
		q.Set(name, value)
		return "https://" + stsHost + "/?" + q.Encode()
	}
	for name, text := range map[string]string{
		"another host":           strings.Replace(good, stsHost, "evil.example", 1),
		"a host behind ours":     strings.Replace(good, stsHost, stsHost+".evil.example", 1),
		"a user before the host": strings.Replace(good, stsHost, stsHost+"@evil.example", 1),
		"another region":         strings.Replace(good, stsHost, "sts.us-east-1.amazonaws.com", 1),
		"a port":                 strings.Replace(good, stsHost, stsHost+":8443", 1),
		"http":                   strings.Replace(good, "https", "http", 1),
		"a path":                 strings.Replace(good, "/?", "/x?", 1),
		"a fragment":             good + "#x",
		"upper case":             strings.Replace(good, "sts.", "STS.", 1),
		"the metadata service":   "https://169.254.169.254/?" + u.RawQuery,
		"another action":         with("Action", "AssumeRole"),
		"another version":        with("Version", "2012-01-01"),
		"a parameter more":       with("RoleArn", "x"),
		"a parameter twice":      good + "&Action=GetCallerIdentity",
		"no signature":           with("X-Amz-Signature", ""),
		"our header unsigned":    with("X-Amz-SignedHeaders", "host"),
		"more headers signed":    with("X-Amz-SignedHeaders", "accept;host;"+aws.AudienceHeader),
		"another service":        with("X-Amz-Credential", "ASIAIOSFODNN7EXAMPLE/20260921/"+region+"/s3/aws4_request"),
		"valid for an hour":      presign(t, federationtest.Audience, federationtest.Now, 3600),
		"expired":                presign(t, federationtest.Audience, federationtest.Now.Add(-5*time.Minute), 60),
		"of the future":          presign(t, federationtest.Audience, federationtest.Now.Add(5*time.Minute), 60),
		"expiry as a fraction":   with("X-Amz-Expires", "60.0"),
		"expiry with a sign":     with("X-Amz-Expires", "+60"),
		"expiry negative":        with("X-Amz-Expires", "-1"),
		"too long":               good + strings.Repeat("x", 9000),
		"empty":                  "",
		"a JWT":                  "a.b.c",
	} {
		_, trace, err := source.Verify(t.Context(), federationtest.Present(text))
		require.Equal(t, keyset.ReasonMalformed, agentid.ReasonOf(err), name)
		require.Equal(t, federation.StepToken, trace.Failed(), name)
	}
	require.Zero(t, s.asked.Load(), "nothing was sent")
}

func TestWhatSTSAnswers(t *testing.T) {
	s := newSTS(t)
	source := s.source(t)
	token := presign(t, federationtest.Audience, federationtest.Now, 60)
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want agentid.Kind
	}{
		"a user": {func(w http.ResponseWriter, _ *http.Request) {
			s.say(w, "123456789012", "arn:aws:iam::123456789012:user/ada", "AIDAEXAMPLE")
		}, agentid.KindUnauthenticated},
		"the root of an account": {func(w http.ResponseWriter, _ *http.Request) {
			s.say(w, "123456789012", "arn:aws:iam::123456789012:root", "123456789012")
		}, agentid.KindUnauthenticated},
		"an account that is not the role's": {func(w http.ResponseWriter, _ *http.Request) {
			s.say(w, "999999999999", "arn:aws:sts::123456789012:assumed-role/Refunds/i-0abc", "AROA123456789EXAMPLE:i-0abc")
		}, agentid.KindUnauthenticated},
		"a session that is another": {func(w http.ResponseWriter, _ *http.Request) {
			s.say(w, "123456789012", "arn:aws:sts::123456789012:assumed-role/Refunds/i-0abc", "AROA123456789EXAMPLE:i-0abd")
		}, agentid.KindUnauthenticated},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, agentid.KindUnavailable},
		"an outage":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, agentid.KindUnavailable},
		"no JSON":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<x/>") }, agentid.KindUnavailable},
		"no end":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat(" ", 1<<20)) }, agentid.KindUnavailable},
		"an empty one": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, agentid.KindUnauthenticated},
		"nothing":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, agentid.KindUnavailable},
	} {
		s.answer.Store(&c.h)
		_, _, err := source.Verify(t.Context(), federationtest.Present(token))
		require.Equal(t, c.want, agentid.KindOf(err), "%s: %v", name, err)
	}
}

func TestCallerIssuers(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://sts.us-east-1.amazonaws.com": true, "https://sts.us-gov-west-1.amazonaws.com": true, "https://sts.cn-north-1.amazonaws.com.cn": true,
		"https://sts.amazonaws.com": false, "http://sts.us-east-1.amazonaws.com": false, "https://sts.us-east-1.amazonaws.com.evil.example": false,
		"https://sts.us-east-1.amazonaws.com/": false, "https://127.0.0.1": false,
	} {
		_, err := aws.CheckCallerIssuer(issuer)
		require.Equal(t, ok, err == nil, issuer)
	}
}
