package agents_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

// plant puts descendants below root, straight into ledger and graph: chains of a depth.
// It returns each chain's refs, root's child first.
func (w *world) plant(root agentid.Ref, prefix string, chains, depth int) [][]agentid.Ref {
	w.tb.Helper()
	var out [][]agentid.Ref
	var edges []relate.Edge
	var rows []ledger.Agent
	expires := w.now().Add(time.Hour)
	tenant := must(agentid.TenantRef("acme"))
	for c := range chains {
		line := []agentid.Ref{root}
		for d := range depth {
			a := ledger.Agent{
				Ref: agentRef(fmt.Sprintf("%s-%d-%d", prefix, c, d)), Type: typeRef("worker"), Principal: owner("alice"),
				Parent: line[len(line)-1], PublicKey: newPair().public, Expires: expires,
			}
			rows = append(rows, a)
			edges = append(edges,
				relate.Edge{Resource: a.Ref, Relation: schema.AgentTenant, Subject: relate.To(tenant)},
				relate.Edge{Resource: a.Ref, Relation: schema.AgentType, Subject: relate.To(a.Type)},
				relate.Edge{Resource: a.Ref, Relation: schema.AgentPrincipal, Subject: relate.To(a.Principal)},
				relate.Edge{Resource: a.Ref, Relation: schema.AgentParent, Subject: relate.To(a.Parent)},
				relate.Edge{Resource: a.Type, Relation: schema.AgentTypeInstance, Subject: relate.To(a.Ref)},
				relate.Edge{Resource: a.Ref, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: expires},
				relate.Edge{Resource: a.Ref, Relation: schema.AgentLineage, Subject: relate.To(a.Ref)},
			)
			for _, ancestor := range line {
				edges = append(edges, relate.Edge{Resource: a.Ref, Relation: schema.AgentLineage, Subject: relate.To(ancestor)})
			}
			line = append(line, a.Ref)
		}
		out = append(out, line[1:])
	}
	w.putAll(rows)
	w.write(relate.Touch, edges)
	return out
}

// putAll writes rows many at a time: those of one depth share a transaction's fsync.
func (w *world) putAll(rows []ledger.Agent) {
	w.tb.Helper()
	byParent := map[agentid.Ref]bool{}
	for _, a := range rows {
		byParent[a.Ref] = true
	}
	for len(rows) > 0 {
		var now, later []ledger.Agent
		for _, a := range rows {
			if byParent[a.Parent] {
				later = append(later, a)
			} else {
				now = append(now, a)
			}
		}
		errs := make(chan error, len(now))
		slots := make(chan struct{}, 256)
		for _, a := range now {
			slots <- struct{}{}
			go func() {
				_, _, err := w.ledger.PutAgent(context.Background(), a)
				<-slots
				errs <- err
			}()
		}
		for range now {
			require.NoError(w.tb, <-errs)
		}
		for _, a := range now {
			delete(byParent, a.Ref)
		}
		rows = later
	}
}

// frozenAtOnce freezes root and checks that one edge changed, and that every agent that
// is looked at was allowed before and is refused afterwards. It returns the time that
// the freeze took.
func (w *world) frozenAtOnce(root agentid.Ref, chains [][]agentid.Ref, everyNth int) time.Duration {
	w.tb.Helper()
	ctx := w.tb.Context()
	var looked []agentid.Ref
	n := 0
	for _, chain := range chains {
		for _, ref := range chain {
			if n%everyNth == 0 {
				looked = append(looked, ref)
			}
			n++
		}
	}
	sample := looked[:min(len(looked), 50)]
	for _, ref := range sample {
		require.NoError(w.tb, w.decide(ref))
	}
	head := must(w.engine.Schema().ReadSchema(ctx, &v1.ReadSchemaRequest{})).GetReadAt().GetToken()
	began := time.Now()
	_, err := w.service.Freeze(ctx, operator, root, "operator")
	took := time.Since(began)
	require.NoError(w.tb, err)
	require.Equal(w.tb, []string{"OPERATION_DELETE agent:" + root.ObjectID() + "#enabled"}, w.changes(head))
	for _, ref := range looked {
		w.refused(w.decide(ref), "agent_not_live")
	}
	_, err = w.service.Unfreeze(ctx, operator, root, "operator")
	require.NoError(w.tb, err)
	for _, ref := range sample {
		require.NoError(w.tb, w.decide(ref))
	}
	return took
}

// changes are the relationships that were written after a revision, up to a marker that
// this writes.
func (w *world) changes(since string) []string {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	marker := must(agentid.PrincipalRef("acme", "marker"))
	w.touch(relate.Edge{Resource: marker, Relation: schema.PrincipalTenant, Subject: relate.To(must(agentid.TenantRef("acme")))})
	defer w.remove(relate.Edge{Resource: marker, Relation: schema.PrincipalTenant, Subject: relate.To(must(agentid.TenantRef("acme")))})
	stream, err := w.engine.Watch().Watch(ctx, &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: since}})
	require.NoError(w.tb, err)
	var out []string
	for {
		next, err := stream.Recv()
		require.NoError(w.tb, err)
		for _, u := range next.GetUpdates() {
			r := u.GetRelationship()
			if r.GetResource().GetObjectId() == marker.ObjectID() {
				return out
			}
			out = append(out, fmt.Sprintf("%s %s:%s#%s", u.GetOperation(), r.GetResource().GetObjectType(), r.GetResource().GetObjectId(), r.GetRelation()))
		}
	}
}

func TestFreezingARootStopsEveryDescendant(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int{10, 1000} {
		name := fmt.Sprintf("root-%d", size)
		root := w.mustStart(name, "root", "").ref
		chains := w.plant(root, fmt.Sprintf("w%d", size), size, 1)
		t.Logf("wide, %d descendants: frozen in %s", size, w.frozenAtOnce(root, chains, max(1, size/200)))
	}
	root := w.mustStart("root-deep", "root", "").ref
	chains := w.plant(root, "deep", 3, ledger.CapDepth)
	t.Logf("3 chains of depth %d: frozen in %s", ledger.CapDepth, w.frozenAtOnce(root, chains, 1))
}

// BenchmarkLiveness is the decision on whether an agent with its whole lineage is live,
// as introspection asks it, at several depths.
func BenchmarkLiveness(b *testing.B) {
	w := newWorld(b)
	root := w.mustStart("root", "root", "").ref
	chain := w.plant(root, "deep", 1, ledger.CapDepth)[0]
	for _, depth := range []int{1, 8, 32} {
		line := must(w.ledger.Lineage(b.Context(), chain[depth-1]))
		require.Equal(b, depth, line[0].Depth)
		q := w.liveQuestion(line)
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.decider.Decide(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFreeze is one freeze of a root with descendants, and its unfreeze apart.
func BenchmarkFreeze(b *testing.B) {
	for _, size := range []int{10, 1000} {
		w := newWorld(b)
		root := w.mustStart("root", "root", "").ref
		w.plant(root, "w", size, 1)
		b.Run(fmt.Sprintf("descendants=%d", size), func(b *testing.B) {
			for b.Loop() {
				if _, err := w.service.Freeze(b.Context(), operator, root, "operator"); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if _, err := w.service.Unfreeze(b.Context(), operator, root, "operator"); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkSpawn is one child through ledger and graph, at two depths.
func BenchmarkSpawn(b *testing.B) {
	w := newWorld(b)
	limitTenant(ledger.Limits{MaxDepth: 32, MaxChildren: ledger.CapChildren, MaxLive: ledger.CapLive})(w, actor{})
	root := w.mustStart("root", "root", "").ref
	chain := w.plant(root, "deep", 1, 31)[0]
	for name, parent := range map[string]agentid.Ref{"depth=1": root, "depth=32": chain[30]} {
		n := 0
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n++
				if _, err := w.start(spec(fmt.Sprintf("%s-kid-%d", parent.Name(), n), "worker", parent.Name())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
