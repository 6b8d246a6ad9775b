package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// GroupEdge is a relationship that a principal has because of its groups.
type GroupEdge struct {
	Resource agentid.Ref `json:"resource"`
	Relation string      `json:"relation"`
}

// GroupEdges are what a principal has by its groups at one provider, as far as it was
// begun: an edge may be missing from the graph after a crash, but none is there that is
// not listed.
func (l *Ledger) GroupEdges(ctx context.Context, principal agentid.Ref, provider string) ([]GroupEdge, error) {
	var out []GroupEdge
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var text []byte
		if err := r.Scan(&text); err != nil {
			return err
		}
		var e GroupEdge
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("ledger: group edge of %s: %w", principal, err)
		}
		out = append(out, e)
		return nil
	}, `SELECT edge FROM group_edges WHERE principal = ? AND provider = ? ORDER BY edge`, principal.String(), provider)
	return out, err
}

// AddGroupEdges records edges before they are made.
func (l *Ledger) AddGroupEdges(ctx context.Context, principal agentid.Ref, provider string, edges []GroupEdge, records ...auditlog.Record) error {
	return l.changeGroupEdges(ctx, `INSERT INTO group_edges (principal, edge, provider) VALUES (?,?,?)
		ON CONFLICT (principal, edge) DO UPDATE SET provider = excluded.provider`, principal, provider, edges, records)
}

// RemoveGroupEdges forgets edges after they are gone from the graph.
func (l *Ledger) RemoveGroupEdges(ctx context.Context, principal agentid.Ref, provider string, edges []GroupEdge, records ...auditlog.Record) error {
	return l.changeGroupEdges(ctx, `DELETE FROM group_edges WHERE principal = ? AND edge = ? AND provider = ?`, principal, provider, edges, records)
}

func (l *Ledger) changeGroupEdges(ctx context.Context, text string, principal agentid.Ref, provider string, edges []GroupEdge, records []auditlog.Record) error {
	if len(edges) == 0 {
		return nil
	}
	keys := make([]string, 0, len(edges))
	for _, e := range edges {
		key, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		for _, key := range slices.Compact(keys) {
			if _, err := tx.Exec(ctx, text, principal.String(), key, provider); err != nil {
				return err
			}
		}
		return nil
	})
}

// GroupHolders are the principals that have something by a provider's groups.
func (l *Ledger) GroupHolders(ctx context.Context, tenant, provider string) ([]agentid.Ref, error) {
	var out []agentid.Ref
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var text string
		if err := r.Scan(&text); err != nil {
			return err
		}
		var ref agentid.Ref
		err := parseRefs([]string{text}, &ref)
		if ref.Tenant() == tenant {
			out = append(out, ref)
		}
		return err
	}, `SELECT DISTINCT principal FROM group_edges WHERE provider = ? ORDER BY principal`, provider)
	return out, err
}
