package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/schema"
)

// lineage is the part of a bulk that asks whether each agent of a chain is alive: the
// first of them is the leaf. All have one subject.
type lineage struct {
	from, to int // a run of checks: [from, to)
}

func (l lineage) size() int        { return l.to - l.from }
func (l lineage) holds(i int) bool { return i >= l.from && i < l.to }

// lineageOf finds the first run of agent#alive checks with one subject.
func lineageOf(checks []policy.Check) lineage {
	isAlive := func(c policy.Check) bool {
		return c.Permission == schema.AgentAlive && c.Resource.Type() == schema.TypeAgent && c.Inputs == nil
	}
	from := 0
	for from < len(checks) && !isAlive(checks[from]) {
		from++
	}
	to := from
	for to < len(checks) && isAlive(checks[to]) && checks[to].Subject == checks[from].Subject {
		to++
	}
	return lineage{from, to}
}

// askLineage answers the run with one check. The leaf is live when every agent that its
// lineage edges name is alive; so where these edges name every agent of the run, "live"
// says yes to all of it, in one fan-out. Where they do not, or the leaf is not live, each
// agent is asked by itself: that tells which one is dead, and never turns a no into a yes.
func (c *Checker) askLineage(ctx context.Context, l lineage, checks []policy.Check, answers []policy.Answer) error {
	run := checks[l.from:l.to]
	covered, err := c.coversAll(ctx, run)
	if err != nil {
		return err
	}
	if covered {
		leaf := run[0]
		leaf.Permission = schema.AgentLive
		var live policy.Answer
		if err := c.askOne(ctx, leaf, &live); err != nil {
			return err
		}
		if live.Verdict == policy.VerdictYes {
			for i := l.from; i < l.to; i++ {
				answers[i] = policy.Answer{Check: checks[i], Verdict: policy.VerdictYes, Expires: live.Expires, Fixed: live.Fixed}
			}
			return nil
		}
	}
	for i := l.from; i < l.to; i++ {
		if err := c.askOne(ctx, checks[i], &answers[i]); err != nil {
			return err
		}
	}
	return nil
}

// coversAll reports whether the lineage edges of the first agent, at the bulk's
// revision, name every agent of the run.
func (c *Checker) coversAll(ctx context.Context, run []policy.Check) (bool, error) {
	at, ok := ctx.Value(pinKey{}).(*pin)
	if !ok {
		return false, errors.New("embedded: no revision is pinned")
	}
	wanted := make(map[string]bool, len(run))
	for _, check := range run {
		wanted[check.Resource.ObjectID()] = true
	}
	edges, err := c.datastore.SnapshotReader(at.head.Revision).QueryRelationships(ctx, datastore.RelationshipsFilter{
		OptionalResourceType:     schema.TypeAgent,
		OptionalResourceIds:      []string{run[0].Resource.ObjectID()},
		OptionalResourceRelation: schema.AgentLineage,
	})
	if err != nil {
		return false, fmt.Errorf("read the lineage: %w", err)
	}
	for edge, err := range edges {
		if err != nil {
			return false, fmt.Errorf("read the lineage: %w", err)
		}
		if plain(edge) {
			delete(wanted, edge.Subject.ObjectID)
		}
	}
	return len(wanted) == 0, nil
}

// plain reports whether an edge names one agent without condition.
func plain(edge tuple.Relationship) bool {
	return edge.Subject.ObjectType == schema.TypeAgent && edge.Subject.Relation == tuple.Ellipsis && edge.OptionalCaveat == nil
}
