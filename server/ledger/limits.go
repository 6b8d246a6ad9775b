package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Limits bound how agents multiply. A zero field sets none. Where a tenant and a type
// both set one, the smaller holds; where neither does, the default.
type Limits struct {
	// MaxDepth is how many ancestors an agent may have.
	MaxDepth int `json:"max_depth,omitempty"`
	// MaxChildren is how many children an agent may have at a time. Of a type: its agents
	// as parents.
	MaxChildren int `json:"max_children,omitempty"`
	// MaxLive is how many agents may act for one principal at a time. Of a type: agents of
	// this type.
	MaxLive int `json:"max_live,omitempty"`
	// MaxLifetime is the longest life of one agent.
	MaxLifetime time.Duration `json:"max_lifetime,omitempty"`
}

// What holds where neither tenant nor type sets a limit.
const (
	DefaultMaxDepth    = 16
	DefaultMaxChildren = 1000
	DefaultMaxLive     = 10_000
	DefaultMaxLifetime = 366 * 24 * time.Hour
)

// What nobody can set a limit beyond.
const (
	CapDepth    = MaxLineage - 1
	CapChildren = 100_000
	CapLive     = 1_000_000
	CapLifetime = 10 * 366 * 24 * time.Hour
)

func (l Limits) check() error {
	switch {
	case l.MaxDepth < 0 || l.MaxDepth > CapDepth:
		return agentid.Invalidf("max_depth", "want 0 to %d", CapDepth)
	case l.MaxChildren < 0 || l.MaxChildren > CapChildren:
		return agentid.Invalidf("max_children", "want 0 to %d", CapChildren)
	case l.MaxLive < 0 || l.MaxLive > CapLive:
		return agentid.Invalidf("max_live", "want 0 to %d", CapLive)
	case l.MaxLifetime < 0 || l.MaxLifetime > CapLifetime:
		return agentid.Invalidf("max_lifetime", "want 0 to %s", CapLifetime)
	}
	return nil
}

// atMost is the smallest of the limits that are set, or the default.
func atMost[N int | time.Duration](def N, set ...N) N {
	set = slices.DeleteFunc(set, func(n N) bool { return n == 0 })
	if len(set) == 0 {
		return def
	}
	return slices.Min(set)
}

// held counts agents that hold a slot, up to most: those that are neither retired nor
// expired, frozen ones and those about to be spawned included.
const (
	heldByPrincipal = `SELECT count(*) FROM (
		SELECT 1 FROM agents WHERE principal = ?1 AND state <> 2 AND expires = 0
		UNION ALL SELECT 1 FROM agents WHERE principal = ?1 AND state <> 2 AND expires > ?2 LIMIT ?3)`
	heldByType = `SELECT count(*) FROM (
		SELECT 1 FROM agents WHERE principal = ?1 AND type = ?4 AND state <> 2 AND expires = 0
		UNION ALL SELECT 1 FROM agents WHERE principal = ?1 AND type = ?4 AND state <> 2 AND expires > ?2 LIMIT ?3)`
	heldByParent = `SELECT count(*) FROM (
		SELECT 1 FROM agents WHERE parent = ?1 AND parent <> '' AND state <> 2 AND expires = 0
		UNION ALL SELECT 1 FROM agents WHERE parent = ?1 AND parent <> '' AND state <> 2 AND expires > ?2 LIMIT ?3)`
)

func held(ctx context.Context, tx *sqlitedb.Tx, text string, of agentid.Ref, now time.Time, most int, more ...any) (int, error) {
	n := 0
	err := tx.QueryRow(ctx, text, append([]any{of.String(), micros(now), most}, more...)...).Scan(&n)
	return n, err
}

// room refuses an agent for which there is no slot. The parent's type is nil without a
// parent. It runs in the transaction that writes the row, and writes are one at a time:
// what was counted here holds until the row is in.
func (l *Ledger) room(ctx context.Context, tx *sqlitedb.Tx, a Agent, tenant Tenant, typ AgentType, parentType *AgentType) error {
	if depth := atMost(DefaultMaxDepth, tenant.MaxDepth, typ.MaxDepth); a.Depth > depth {
		return agentid.Errorf(agentid.KindForbidden, "lineage_too_deep", "an agent of this type has at most %d ancestors, and this one would have %d", depth, a.Depth).WithField("parent")
	}
	now := l.now()
	if parentType != nil {
		most := atMost(DefaultMaxChildren, tenant.MaxChildren, parentType.MaxChildren)
		n, err := held(ctx, tx, heldByParent, a.Parent, now, most)
		if err != nil {
			return err
		}
		if n >= most {
			return agentid.Errorf(agentid.KindForbidden, "fan_out_exceeded", "the parent has %d children, which is all it may have", n).WithField("parent")
		}
	}
	most := atMost(DefaultMaxLive, tenant.MaxLive)
	n, err := held(ctx, tx, heldByPrincipal, a.Principal, now, most)
	if err == nil && n < most && typ.MaxLive > 0 {
		most = typ.MaxLive
		n, err = held(ctx, tx, heldByType, a.Principal, now, most, a.Type.String())
	}
	if err != nil {
		return err
	}
	if n >= most {
		return agentid.Errorf(agentid.KindForbidden, "live_agents_exceeded", "%d agents act for this principal, which is all that may", n).WithField("principal")
	}
	return nil
}

// lifetime bounds an agent's expiry by its parent's and by the limits, and gives it the
// latest one when it brings none.
func (l *Ledger) lifetime(a *Agent, tenant Tenant, typ AgentType, parent *Agent) error {
	now := l.now()
	most := atMost(DefaultMaxLifetime, tenant.MaxLifetime, typ.MaxLifetime)
	latest := now.Add(most).UTC().Truncate(time.Microsecond)
	if a.Expires.IsZero() {
		a.Expires = latest
		if parent != nil && !parent.Expires.IsZero() && parent.Expires.Before(latest) {
			a.Expires = parent.Expires
		}
	}
	switch {
	case !a.Expires.After(now):
		return agentid.Invalidf("expires", "has passed")
	case parent != nil && !parent.Expires.IsZero() && a.Expires.After(parent.Expires):
		return agentid.Errorf(agentid.KindForbidden, "lifetime_exceeds_parent", "it would live until %s, its parent until %s",
			a.Expires.Format(time.RFC3339), parent.Expires.Format(time.RFC3339)).WithField("expires")
	case a.Expires.After(latest):
		return agentid.Errorf(agentid.KindForbidden, "lifetime_exceeds_limit", "it would live until %s, and may until %s",
			a.Expires.Format(time.RFC3339), latest.Format(time.RFC3339)).WithField("expires")
	}
	return nil
}
