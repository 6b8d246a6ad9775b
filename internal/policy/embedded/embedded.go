// Package embedded asks the graph in this process, with SpiceDB's pkg/embedded: no
// transport, no encoding, caveat context as native Go values.
//
// It owns the pinning of one revision for all checks of a bulk: pkg/embedded reads the
// head on every call, so it is given a datastore whose head is the revision that the
// bulk chose. It never answers from an older revision than a caller saw, and holds no
// answers; the parsed schema and its compiled caveats are cached by the schema's hash.
//
// The schema must have been written in datalayer.SchemaModeReadNewWriteNew, which
// internal/engine does.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/datalayer"
	"github.com/authzed/spicedb/pkg/datastore"
	spicedb "github.com/authzed/spicedb/pkg/embedded"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/authzed/spicedb/pkg/zedtoken"
	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/bulk"
)

// Config makes a Checker. Datastore is required and stays the caller's to close.
type Config struct {
	Datastore datastore.Datastore
	// Parallel is how many checks of one bulk run at once; DefaultParallel by default.
	Parallel int
}

// Defaults and limits.
const (
	DefaultParallel  = 4
	schemaCacheBytes = 16 << 20
	maxDepth         = 50
)

// Checker is a policy.Checker over a datastore of this process.
type Checker struct {
	datastore   datastore.Datastore
	permissions *spicedb.Permissions
	parallel    int
	shape       atomic.Pointer[shape] // of the newest schema seen
}

var _ policy.Checker = (*Checker)(nil)

// New makes a Checker; close it when it is done with.
func New(cfg Config) (*Checker, error) {
	if cfg.Datastore == nil {
		return nil, errors.New("embedded: a Datastore is required")
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = DefaultParallel
	}
	permissions, err := spicedb.NewPermissions(spicedb.Config{
		Datastore:               pinned{cfg.Datastore},
		SchemaMode:              datalayer.SchemaModeReadNewWriteNew,
		SchemaCacheMaxCostBytes: schemaCacheBytes,
		MaxDepth:                maxDepth,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return &Checker{datastore: cfg.Datastore, permissions: permissions, parallel: cfg.Parallel}, nil
}

// Close releases what the checker holds, not the datastore.
func (c *Checker) Close() error { return c.permissions.Close() }

// CheckBulk implements policy.Checker: at the head, which is at least as new as any
// revision that this datastore ever gave out.
func (c *Checker) CheckBulk(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	head, zookie, err := c.at(ctx, atLeast)
	if err != nil {
		return "", nil, err
	}
	answers, err := c.ask(ctx, head, checks)
	if err != nil {
		return "", nil, err
	}
	return zookie, answers, nil
}

// at pins the head for one bulk, and names it.
func (c *Checker) at(ctx context.Context, atLeast agentid.Zookie) (datastore.RevisionWithSchemaHash, agentid.Zookie, error) {
	head, err := c.datastore.HeadRevision(ctx)
	if err != nil {
		return head, "", fmt.Errorf("read the head revision: %w", err)
	}
	if err := c.honour(atLeast, head.Revision); err != nil {
		return head, "", err
	}
	token, err := zedtoken.NewFromRevision(ctx, head.Revision, datalayer.SchemaHash(head.SchemaHash), c.datastore)
	if err != nil {
		return head, "", fmt.Errorf("name the revision: %w", err)
	}
	return head, agentid.Zookie(token.GetToken()), nil
}

// honour refuses a zookie that another graph made, or that names a revision which is
// still to come: this graph gave out none beyond its head, so it is forged or of a state
// that was lost. One of a revision that has been collected since is honoured, because the
// head is newer: a floor may stand for longer than revisions are kept.
func (c *Checker) honour(atLeast agentid.Zookie, head datastore.Revision) error {
	if atLeast == "" {
		return nil
	}
	decoded, err := zedtoken.DecodeRevision(&v1.ZedToken{Token: string(atLeast)}, c.datastore)
	switch {
	case err != nil:
		return policy.ZookieInvalid(err)
	case decoded.Status != zedtoken.StatusValid:
		return policy.ZookieInvalid(errors.New("of another datastore"))
	case decoded.Revision.GreaterThan(head):
		return policy.ZookieInvalid(errors.New("of a revision that is still to come"))
	}
	return nil
}

// ask answers what the rows of the resources settle, and runs the other groups of a
// bulk side by side. A check that fails fails the bulk: one unanswered check denies
// anyway.
func (c *Checker) ask(ctx context.Context, head datastore.RevisionWithSchemaHash, checks []policy.Check) ([]policy.Answer, error) {
	lineage := lineageOf(checks)
	shape, err := c.shapeAt(ctx, head)
	if err != nil {
		return nil, err
	}
	rows, err := c.readAhead(ctx, head.Revision, checks, lineage)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, pinKey{}, &pin{head: head, rows: rows})
	answers := make([]policy.Answer, len(checks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.parallel)
	if lineage.size() > 1 {
		group.Go(func() error { return c.askLineage(ctx, lineage, checks, answers) })
	}
	for i := range checks {
		switch {
		case lineage.size() > 1 && lineage.holds(i):
		case rows.hopeless(shape, checks[i]):
			answers[i] = policy.Answer{Check: checks[i], Verdict: policy.VerdictNo, Expires: policy.Never, Fixed: true}
		default:
			if grant, ok := rows.settled(shape, checks[i]); ok {
				answers[i] = policy.Answer{Check: checks[i], Verdict: policy.VerdictYes, Expires: expiry(grant), Fixed: true}
				continue
			}
			group.Go(func() error { return c.askOne(ctx, checks[i], &answers[i]) })
		}
	}
	return answers, group.Wait()
}

func (c *Checker) askOne(ctx context.Context, check policy.Check, answer *policy.Answer) error {
	ctx, seen := watched(ctx)
	result, err := c.permissions.Check(ctx, spicedb.CheckRequest{
		ResourceType: check.Resource.Type(), ResourceID: check.Resource.ObjectID(),
		Permission:  check.Permission,
		SubjectType: check.Subject.Type(), SubjectID: check.Subject.ObjectID(),
		CaveatContext: check.Inputs.Values(),
	})
	if err != nil {
		return bulk.Error(err)
	}
	*answer = policy.Answer{
		Check: check, Verdict: verdict(result), Missing: result.MissingContext,
		Expires: seen.Expires(), Fixed: !seen.caveat.Load(),
	}
	return nil
}

// member says whether the subject is one of a set, such as agent_type:acme/t#instance.
func (c *Checker) member(ctx context.Context, set tuple.ObjectAndRelation, subject agentid.Ref) (policy.Verdict, error) {
	result, err := c.permissions.Check(ctx, spicedb.CheckRequest{
		ResourceType: set.ObjectType, ResourceID: set.ObjectID, Permission: set.Relation,
		SubjectType: subject.Type(), SubjectID: subject.ObjectID(),
	})
	if err != nil {
		return 0, bulk.Error(err)
	}
	return verdict(result), nil
}

func verdict(r spicedb.CheckResult) policy.Verdict {
	switch {
	case r.IsConditional:
		return policy.VerdictConditional
	case r.HasPermission:
		return policy.VerdictYes
	default:
		return policy.VerdictNo
	}
}

// pinKey holds the pin of one bulk. It travels in the context because that is all
// that pkg/embedded hands to its datastore; nothing outside this package sees it.
type pinKey struct{}

// pin is the revision of one bulk, and what was read of it; rows may be nil.
type pin struct {
	head datastore.RevisionWithSchemaHash
	rows *rows
}

// pinned is a datastore whose head is the revision of the bulk that asks.
type pinned struct{ datastore.Datastore }

// HeadRevision implements datastore.Datastore.
func (p pinned) HeadRevision(ctx context.Context) (datastore.RevisionWithSchemaHash, error) {
	at, ok := ctx.Value(pinKey{}).(*pin)
	if !ok {
		return datastore.RevisionWithSchemaHash{}, errors.New("embedded: no revision is pinned")
	}
	return at.head, nil
}

// SnapshotReader implements datastore.Datastore.
func (p pinned) SnapshotReader(at datastore.Revision) datastore.Reader {
	return reader{p.Datastore.SnapshotReader(at), at}
}
