package aws

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentid-dev/agentid/federation"
)

// AudienceHeader is the signed header of a presigned request that names whom it is for.
const AudienceHeader = "x-agentid-audience"

// The bounds of a presigned request.
const (
	maxURL      = 8 << 10
	MaxValidity = 5 * time.Minute
)

var (
	hosts       = regexp.MustCompile(`\Asts\.([a-z]{2}(?:-[a-z]+)+-[0-9]{1,2})\.amazonaws\.com(?:\.cn)?\z`)
	credential  = regexp.MustCompile(`\A[A-Z0-9]{16,128}/([0-9]{8})/([a-z0-9-]{1,40})/sts/aws4_request\z`)
	signatures  = regexp.MustCompile(`\A[0-9a-f]{64}\z`)
	parameters  = []string{"Action", "Version", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"}
	optional    = []string{"X-Amz-Security-Token"}
	errNotExact = errors.New("a parameter is unknown, missing or given twice")
)

// presigned is a presigned GetCallerIdentity request that may be sent.
type presigned struct {
	query     string // exactly as it was signed
	signature string
	expires   time.Time
}

// parse holds a presigned URL against the rules: https to the host of the region's STS and
// nothing behind it, GetCallerIdentity and nothing else, signed over the host and our
// audience header and no other, valid now and for five minutes at most.
func parse(text, host string, now time.Time) (presigned, error) {
	if len(text) > maxURL {
		return presigned{}, fmt.Errorf("longer than %d bytes", maxURL)
	}
	rest, ok := strings.CutPrefix(text, "https://"+host+"/?")
	if !ok || strings.ContainsAny(rest, "#;\\ \t\r\n") {
		return presigned{}, errors.New("want https://" + host + "/? with a query")
	}
	values, err := url.ParseQuery(rest)
	if err != nil {
		return presigned{}, errors.New("the query does not parse")
	}
	for name, list := range values {
		if len(list) != 1 || !slices.Contains(parameters, name) && !slices.Contains(optional, name) {
			return presigned{}, errNotExact
		}
	}
	for _, name := range parameters {
		if values.Get(name) == "" {
			return presigned{}, errNotExact
		}
	}
	region := hosts.FindStringSubmatch(host)
	scope := credential.FindStringSubmatch(values.Get("X-Amz-Credential"))
	switch {
	case values.Get("Action") != "GetCallerIdentity" || values.Get("Version") != "2011-06-15":
		return presigned{}, errors.New("want GetCallerIdentity of 2011-06-15")
	case values.Get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || !signatures.MatchString(values.Get("X-Amz-Signature")):
		return presigned{}, errors.New("want a signature of version 4")
	case values.Get("X-Amz-SignedHeaders") != "host;"+AudienceHeader:
		return presigned{}, errors.New("want the signature over host and " + AudienceHeader + ", and no other header")
	case region == nil || scope == nil || scope[2] != region[1]:
		return presigned{}, errors.New("the credential is not for this region's STS")
	case !strings.HasPrefix(values.Get("X-Amz-Date"), scope[1]):
		return presigned{}, errors.New("the credential is of another day")
	}
	out := presigned{query: rest, signature: values.Get("X-Amz-Signature")}
	out.expires, err = validity(values.Get("X-Amz-Date"), values.Get("X-Amz-Expires"), now)
	return out, err
}

// validity says when a request ends, and that it is valid now.
func validity(date, seconds string, now time.Time) (time.Time, error) {
	signed, err := time.Parse("20060102T150405Z", date)
	if err != nil {
		return time.Time{}, errors.New("X-Amz-Date is not a time")
	}
	n, err := strconv.Atoi(seconds)
	if err != nil || n < 1 || n > int(MaxValidity/time.Second) || strconv.Itoa(n) != seconds {
		return time.Time{}, fmt.Errorf("X-Amz-Expires: want 1 to %d seconds", int(MaxValidity/time.Second))
	}
	expires := signed.Add(time.Duration(n) * time.Second)
	switch {
	case signed.After(now.Add(federation.Skew)):
		return time.Time{}, errors.New("it is of the future")
	case !now.Before(expires.Add(federation.Skew)):
		return time.Time{}, errors.New("it has expired")
	}
	return expires, nil
}
