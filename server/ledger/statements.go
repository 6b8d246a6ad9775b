package ledger

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements bounds the statements that are kept. Texts are the program's own, a few
// dozen; beyond the bound one is prepared for each use.
const maxStatements = 256

// statements keeps prepared queries, so that SQLite parses each text once for each
// connection. It is safe for concurrent use. They end with the database.
type statements struct {
	db   *sql.DB
	mu   sync.RWMutex
	kept map[string]*sql.Stmt
}

func newStatements(db *sql.DB) *statements {
	return &statements{db: db, kept: map[string]*sql.Stmt{}}
}

// query implements query, outside of any transaction.
func (s *statements) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	s.mu.RLock()
	stmt := s.kept[text]
	s.mu.RUnlock()
	if stmt == nil {
		var err error
		if stmt, err = s.prepare(ctx, text); err != nil {
			return nil, err
		}
		if stmt == nil {
			return s.db.QueryContext(ctx, text, args...)
		}
	}
	return stmt.QueryContext(ctx, args...)
}

// prepare is nil when there are enough.
func (s *statements) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.kept[text]; stmt != nil || len(s.kept) >= maxStatements {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, text)
	if err == nil {
		s.kept[text] = stmt
	}
	return stmt, err
}
