package sqlitedb

import (
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
)

// Generation counts the writes that may have changed or taken away a row of its tables,
// so that what was read from them can be remembered: it is as it was while the count has
// not moved since before it was read. A plain INSERT counts only for a generation of sets:
// with any other, that nothing was found must not be remembered, nor which rows there are.
//
// Every write of the process goes through Tx, which is the one place that counts: by the
// text of the statement, once it is committed, before the Write that made it returns.
type Generation struct {
	tables []string
	sets   bool
	count  atomic.Uint64
}

// Now is the count, never 0. Whoever remembers takes it before reading, and uses what was read only
// while it is the same.
func (g *Generation) Now() uint64 { return g.count.Load() }

// Watch gives a generation of tables. Call it before the first write: triggers and
// cascades into its tables are not seen, so they must have none.
func (db *DB) Watch(tables ...string) *Generation {
	return db.watch(&Generation{tables: tables})
}

// WatchSets is Watch for what is read as a set of rows: a row that is added counts, too.
func (db *DB) WatchSets(tables ...string) *Generation {
	return db.watch(&Generation{tables: tables, sets: true})
}

func (db *DB) watch(g *Generation) *Generation {
	g.count.Store(1) // so that 0 is no count
	db.writer.mu.Lock()
	defer db.writer.mu.Unlock()
	db.writer.watched = append(db.writer.watched, g)
	db.writer.moves = map[string][]*Generation{}
	return g
}

// Unmoved reports whether g still counts n, the writes of this transaction and of those
// that it shares its COMMIT with included: whoever read at n sees here what they saw then.
func (tx *Tx) Unmoved(g *Generation, n uint64) bool {
	return !tx.over && g.Now() == n && !slices.Contains(tx.b.moved, g)
}

// note remembers what a statement may change.
func (tx *Tx) note(query string) {
	for _, g := range tx.w.movedBy(query) {
		if !slices.Contains(tx.b.moved, g) {
			tx.b.moved = append(tx.b.moved, g)
		}
	}
}

// move counts what a batch may have changed, whatever became of it.
func (b *batch) move() {
	for _, g := range b.moved {
		g.count.Add(1)
	}
}

// movedBy finds, once for each text, which generations a statement moves: none if it only
// reads, those of sets if it only adds; of them every one whose table its text names. The
// writer's lock is held.
func (w *writer) movedBy(query string) []*Generation {
	if len(w.watched) == 0 {
		return nil
	}
	if found, ok := w.moves[query]; ok {
		return found
	}
	found := movedOf(query, w.watched)
	if len(w.moves) < maxStatements {
		w.moves[query] = found
	}
	return found
}

func movedOf(query string, watched []*Generation) (found []*Generation) {
	words := strings.FieldsFunc(strings.ToLower(query), func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	reads, adds := harmless(query, words)
	if reads {
		return nil
	}
	for _, g := range watched {
		if adds && !g.sets {
			continue
		}
		if slices.ContainsFunc(g.tables, func(table string) bool { return slices.Contains(words, table) }) {
			found = append(found, g)
		}
	}
	return found
}

// harmless reports whether a statement only reads, or only adds rows. More than one
// statement in one text is never taken for harmless.
func harmless(query string, words []string) (reads, adds bool) {
	if len(words) == 0 || strings.Contains(query, ";") {
		return false, false
	}
	switch words[0] {
	case "select", "pragma":
		return true, false
	case "insert":
		return false, len(words) > 1 && words[1] == "into" && !slices.Contains(words, "conflict")
	}
	return false, false
}
