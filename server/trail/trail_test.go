package trail_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/trail"
)

type rows struct {
	records []auditlog.Record
	how     []wire.Durability
	fail    error
}

func (r *rows) Append(_ context.Context, rec auditlog.Record, d wire.Durability) error {
	if r.fail == nil {
		r.records, r.how = append(r.records, rec), append(r.how, d)
	}
	return r.fail
}

func open(t *testing.T) (*trail.Trail, *rows, *time.Time) {
	t.Helper()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	log := &rows{}
	tr, err := trail.New(trail.Config{Audit: log, Now: func() time.Time { return now }})
	require.NoError(t, err)
	return tr, log, &now
}

func TestEveryAuthenticatedRefusalIsARowOnDisk(t *testing.T) {
	tr, log, _ := open(t)
	const n = 5 * trail.UnauthenticatedBurst
	for range n {
		tr.Write(t.Context(), trail.Known, auditlog.Record{Kind: auditlog.Issue, Tenant: "acme", Agent: "agent:acme/ag-1", Decision: auditlog.Allow},
			agentid.Errorf(agentid.KindForbidden, "policy_denied", "no").WithField("identifier"))
	}
	require.Len(t, log.records, n)
	last := log.records[n-1]
	require.Equal(t, auditlog.Issue, last.Kind)
	require.Equal(t, auditlog.Deny, last.Decision)
	require.Equal(t, "policy_denied", last.Reason)
	require.Equal(t, "identifier", last.Field)
	require.Equal(t, wire.Durable, log.how[n-1])
}

func TestAFloodOfStrangersCannotFillTheDisk(t *testing.T) {
	tr, log, now := open(t)
	refuse := func() {
		tr.Write(t.Context(), trail.Stranger, auditlog.Record{Kind: auditlog.Issue, Tenant: "acme"},
			agentid.Errorf(agentid.KindUnauthenticated, "client_unknown", "no"))
	}
	for range 10_000 {
		refuse()
	}
	require.Len(t, log.records, trail.UnauthenticatedBurst)
	*now = now.Add(time.Second)
	refuse()
	last := log.records[len(log.records)-1]
	require.Equal(t, auditlog.Authn, last.Kind)
	require.Equal(t, "9940", last.Notes[trail.NoteSuppressed])
	*now = now.Add(time.Second)
	refuse()
	require.Empty(t, log.records[len(log.records)-1].Notes)
}

func TestAFailingLogChangesNoRefusal(t *testing.T) {
	tr, log, _ := open(t)
	log.fail = errors.New("disk full")
	tr.Write(t.Context(), trail.Stranger, auditlog.Record{}, errors.New("x")) // returns nothing and does not panic
	require.Empty(t, log.records)
}

func TestATrailNeedsALog(t *testing.T) {
	_, err := trail.New(trail.Config{})
	require.Error(t, err)
}
