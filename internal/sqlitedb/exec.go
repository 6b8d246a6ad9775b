package sqlitedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// exec runs a statement that gives no rows on the writer's connection, by the driver
// itself: what database/sql does for each statement (a lock, a lookup, two copies of the
// arguments) would be a tenth of a small write. The writer's lock is held.
func (w *writer) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	var result driver.Result
	err := w.conn.Raw(func(conn any) error {
		stmt, kept, err := w.prepared(ctx, conn, query)
		if err != nil {
			return err
		}
		if result, err = w.run(ctx, stmt, args); !kept {
			err = errors.Join(err, stmt.Close())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// prepared is the statement of a text, and whether it is kept for the next time.
func (w *writer) prepared(ctx context.Context, conn any, query string) (stmt driver.Stmt, kept bool, err error) {
	if s, ok := w.execs[query]; ok {
		return s, true, nil
	}
	c, ok := conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, false, fmt.Errorf("sqlitedb: the driver's connection is a %T", conn)
	}
	if stmt, err = c.PrepareContext(ctx, query); err != nil {
		return nil, false, err
	}
	if kept = len(w.execs) < maxStatements; kept {
		w.execs[query] = stmt
	}
	return stmt, kept, nil
}

func (w *writer) run(ctx context.Context, stmt driver.Stmt, args []any) (driver.Result, error) {
	s, ok := stmt.(driver.StmtExecContext)
	if !ok {
		return nil, fmt.Errorf("sqlitedb: the driver's statement is a %T", stmt)
	}
	named := w.args[:0]
	for i, arg := range args {
		value, err := valueOf(arg)
		if err != nil {
			return nil, fmt.Errorf("sqlitedb: argument %d: %w", i+1, err)
		}
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: value})
	}
	w.args = named
	result, err := s.ExecContext(ctx, named)
	clear(named) // it holds on to nothing of the caller's
	return result, err
}

// valueOf is what database/sql makes of an argument.
func valueOf(arg any) (driver.Value, error) {
	switch v := arg.(type) {
	case nil, int64, string, []byte, bool, float64:
		return v, nil
	default:
		return driver.DefaultParameterConverter.ConvertValue(arg)
	}
}
