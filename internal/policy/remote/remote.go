// Package remote asks a SpiceDB elsewhere, through authzed-go, in one
// CheckBulkPermissions.
//
// It owns which consistency is asked for, and that a revision of another graph is
// refused even where the server would forgive it. It opens no connection and retries
// nothing: an error denies, and the caller decides when to ask again.
package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	implv1 "github.com/authzed/spicedb/pkg/proto/impl/v1"
	"github.com/authzed/spicedb/pkg/zedtoken"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/bulk"
)

// DefaultTimeout bounds one bulk call where the caller's context does not.
const DefaultTimeout = 2 * time.Second

// Config makes a Checker. Permissions is required.
type Config struct {
	Permissions v1.PermissionsServiceClient
	Timeout     time.Duration // of one call; DefaultTimeout by default
}

// Checker is a policy.Checker over a SpiceDB cluster.
type Checker struct {
	permissions v1.PermissionsServiceClient
	timeout     time.Duration
}

var _ policy.Checker = (*Checker)(nil)

// New makes a Checker. It asks nothing yet.
func New(cfg Config) (*Checker, error) {
	if cfg.Permissions == nil {
		return nil, errors.New("remote: Permissions is required")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Checker{permissions: cfg.Permissions, timeout: cfg.Timeout}, nil
}

// CheckBulk implements policy.Checker. With a zookie it asks at_least_as_fresh, because
// fully_consistent does not promise to read one's own writes on CockroachDB; without one
// it asks fully_consistent, the newest that the cluster offers.
func (c *Checker) CheckBulk(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	want, err := datastoreOf(atLeast)
	if err != nil {
		return "", nil, policy.ZookieInvalid(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.permissions.CheckBulkPermissions(ctx, bulk.Request(checks, consistency(atLeast)))
	if err != nil {
		return "", nil, c.explain(ctx, err, want, checks)
	}
	if got, err := datastoreOf(agentid.Zookie(resp.GetCheckedAt().GetToken())); err != nil || got == "" {
		return "", nil, errors.Join(errors.New("the graph named no revision"), err)
	} else if want != "" && got != want {
		return "", nil, policy.ZookieInvalid(errors.New("of another datastore"))
	}
	at, answers, err := bulk.Answers(checks, resp)
	for _, a := range answers {
		// The server took the zookie's revision, and then could not read at it.
		if want != "" && status.Code(a.Err) == codes.OutOfRange {
			return "", nil, policy.ZookieInvalid(a.Err)
		}
	}
	return at, answers, err
}

func consistency(atLeast agentid.Zookie) *v1.Consistency {
	if atLeast == "" {
		return &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}}
	}
	return &v1.Consistency{Requirement: &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: &v1.ZedToken{Token: string(atLeast)}}}
}

// zookieCodes are the codes with which SpiceDB answers a zookie that it cannot honour.
var zookieCodes = []codes.Code{codes.InvalidArgument, codes.OutOfRange, codes.FailedPrecondition, codes.Unknown, codes.Internal}

// explain tells a zookie that the cluster cannot honour from an outage. SpiceDB answers
// a foreign one with an error without a code of its own, so the graph is asked who it is.
func (c *Checker) explain(ctx context.Context, err error, want string, checks []policy.Check) error {
	code := status.Code(err)
	if want == "" || !slices.Contains(zookieCodes, code) {
		return fmt.Errorf("check in bulk: %w", err)
	}
	resp, again := c.permissions.CheckBulkPermissions(ctx, bulk.Request(checks[:1], consistency("")))
	if again != nil {
		return fmt.Errorf("check in bulk: %w", err)
	}
	got, _ := datastoreOf(agentid.Zookie(resp.GetCheckedAt().GetToken()))
	if got != want || code == codes.InvalidArgument || code == codes.OutOfRange {
		return policy.ZookieInvalid(err)
	}
	return fmt.Errorf("check in bulk: %w", err)
}

// datastoreOf reads the mark of the datastore that made a zookie: "" for no zookie, an
// error for one that is not SpiceDB's or carries no mark.
func datastoreOf(zookie agentid.Zookie) (string, error) {
	if zookie == "" {
		return "", nil
	}
	decoded, err := zedtoken.Decode(&v1.ZedToken{Token: string(zookie)})
	if err != nil {
		return "", fmt.Errorf("read the zookie: %w", err)
	}
	current, ok := decoded.GetVersionOneof().(*implv1.DecodedZedToken_V1)
	if !ok || current.V1.GetDatastoreUniqueIdPrefix() == "" {
		return "", errors.New("the zookie names no datastore")
	}
	return current.V1.GetDatastoreUniqueIdPrefix(), nil
}
