package auditlog

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// stretch is how many positions one index entry stands for. An entry for each record and
// field would cost more than the record.
const stretch = 1024

// field is what the log can be asked for, besides the request.
type field int

// The fields. Their numbers are in the database.
const (
	fieldTenant field = iota + 1
	fieldPrincipal
	fieldAgent
	fieldToken
	fieldKind
)

// key is one value that some record of a stretch has in a field.
type key struct {
	field field
	value string
}

// keys are those of one record.
func (r *Record) keys() [5]key {
	return [5]key{
		{fieldTenant, r.Tenant}, {fieldPrincipal, r.Principal}, {fieldAgent, r.Agent}, {fieldToken, r.Token}, {fieldKind, string(r.Kind)},
	}
}

// known remembers which keys of the newest stretch are in the database for good, so that
// each is written once.
type known struct {
	mu      sync.Mutex
	stretch int64
	keys    map[key]struct{}
}

// missing gives those of all that are not known of a stretch.
func (k *known) missing(at int64, all []key) (out []key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, what := range all {
		if _, ok := k.keys[what]; !ok || at != k.stretch {
			out = append(out, what)
		}
	}
	return out
}

// committed notes keys whose transaction is on disk.
func (k *known) committed(at int64, all []key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at < k.stretch {
		return
	}
	if k.keys == nil || at > k.stretch {
		k.stretch, k.keys = at, make(map[key]struct{}, len(all))
	}
	for _, what := range all {
		k.keys[what] = struct{}{}
	}
}

const (
	insertKeys     = `INSERT OR IGNORE INTO audit_key (field, value, stretch) SELECT value ->> 0, value ->> 1, ?1 FROM json_each(?2)`
	insertRequests = `INSERT INTO audit_request (request, seq) SELECT value, ?1 + key FROM json_each(?2) WHERE value <> ''`
	insertRequest  = `INSERT INTO audit_request (request, seq) VALUES (?,?)`
)

// index writes what finds entries, whose first is at seq.
func (l *Log) index(ctx context.Context, tx *sqlitedb.Tx, seq int64, entries []Entry) error {
	if err := l.indexRequests(ctx, tx, seq, entries); err != nil {
		return err
	}
	all := distinct(entries)
	last := seq + int64(len(entries)) - 1
	for at := seq / stretch; at <= last/stretch; at++ {
		if err := l.indexKeys(ctx, tx, at, all); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) indexRequests(ctx context.Context, tx *sqlitedb.Tx, seq int64, entries []Entry) error {
	if len(entries) == 1 {
		if entries[0].record.Request == "" {
			return nil
		}
		_, err := tx.Exec(ctx, insertRequest, entries[0].record.Request, seq)
		return err
	}
	requests := make([]string, len(entries))
	for i := range entries {
		requests[i] = entries[i].record.Request
	}
	list, err := json.Marshal(requests)
	if err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	_, err = tx.Exec(ctx, insertRequests, seq, string(list))
	return err
}

// distinct are the keys of entries, each once. Most records share most of theirs with the
// one before.
func distinct(entries []Entry) (all []key) {
	seen := map[key]struct{}{}
	var before [5]key
	for i := range entries {
		now := entries[i].record.keys()
		for n, k := range now {
			if k.value == "" || k == before[n] {
				continue
			}
			if _, twice := seen[k]; twice {
				continue
			}
			if len(entries) > 1 {
				seen[k] = struct{}{}
			}
			all = append(all, k)
		}
		before = now
	}
	return all
}

// indexKeys writes those of all keys that a stretch does not have yet.
func (l *Log) indexKeys(ctx context.Context, tx *sqlitedb.Tx, at int64, all []key) error {
	missing := l.known.missing(at, all)
	if len(missing) == 0 {
		return nil
	}
	rows := make([][2]any, len(missing))
	for i, k := range missing {
		rows[i] = [2]any{k.field, k.value}
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if _, err := tx.Exec(ctx, insertKeys, at, string(list)); err != nil {
		return err
	}
	tx.OnCommit(func() { l.known.committed(at, missing) })
	return nil
}
