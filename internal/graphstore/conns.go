package graphstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// querier runs a query of constant text and hands each row to a function. The
// values are int64, string, []byte or nil, and stay valid; the slice does not.
type querier interface {
	query(ctx context.Context, text string, args []any, columns int, each rowFunc) error
}

// rowFunc looks at one row.
type rowFunc = func(v []driver.Value) error

// errStop ends a query early without failing it.
var errStop = errors.New("stop")

func defaultReaders() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// readerCacheKiB bounds SQLite's page cache in each reading connection.
const readerCacheKiB = 16 * 1024

// readerPool holds the reading connections, opened when first needed. Each keeps
// its prepared statements and its page cache; the one used last is used next, so
// that a quiet store works from one warm cache. The pool speaks to the driver
// beneath database/sql, because that layer's locks and conversions cost as much as
// the query.
type readerPool struct {
	db   *sql.DB
	free chan struct{} // one token for each connection that may be in use
	shut chan struct{}
	mu   sync.Mutex
	idle []*readConn // those open and not in use
}

type readConn struct {
	conn  *sql.Conn
	stmts map[string]driver.StmtQueryContext
	args  []driver.NamedValue
	vals  []driver.Value
}

func newReaderPool(db *sql.DB, size int) *readerPool {
	p := &readerPool{db: db, free: make(chan struct{}, size), shut: make(chan struct{})}
	for range size {
		p.free <- struct{}{}
	}
	return p
}

// acquire waits for a connection; give it back with release.
func (p *readerPool) acquire(ctx context.Context) (*readConn, error) {
	select {
	case <-p.shut:
		return nil, ErrClosed
	default:
	}
	select {
	case <-p.free:
	default:
		select {
		case <-p.free:
		case <-p.shut:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(context.WithoutCancel(ctx))
	if err != nil {
		p.free <- struct{}{}
		return nil, agentid.Unavailable("graph_unavailable", err)
	}
	return c, nil
}

func (p *readerPool) open(ctx context.Context) (*readConn, error) {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA cache_size = -%d`, readerCacheKiB)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &readConn{conn: conn, stmts: map[string]driver.StmtQueryContext{}}, nil
}

func (p *readerPool) release(c *readConn) {
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.free <- struct{}{}
}

func (p *readerPool) query(ctx context.Context, text string, args []any, columns int, each rowFunc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer p.release(c)
	return c.query(ctx, text, args, columns, each)
}

// close waits for the connections that are in use and closes all.
func (p *readerPool) close() error {
	close(p.shut)
	for range cap(p.free) {
		<-p.free
	}
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

func (c *readConn) close() error {
	err := c.conn.Raw(func(any) error {
		var errs []error
		for _, s := range c.stmts {
			if closer, ok := s.(io.Closer); ok {
				errs = append(errs, closer.Close())
			}
		}
		return errors.Join(errs...)
	})
	return errors.Join(err, c.conn.Close())
}

// query ignores the context's end once the query runs: watching for it costs a
// goroutine, and every query here is a bounded page.
func (c *readConn) query(_ context.Context, text string, args []any, columns int, each rowFunc) error {
	err := c.conn.Raw(func(raw any) error {
		stmt, err := c.prepare(raw, text)
		if err != nil {
			return err
		}
		c.args = c.args[:0]
		for i, a := range args {
			c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
		}
		rows, err := stmt.QueryContext(context.Background(), c.args)
		if err != nil {
			return err
		}
		if cap(c.vals) < columns {
			c.vals = make([]driver.Value, columns)
		}
		vals := c.vals[:columns]
		for err = rows.Next(vals); err == nil; err = rows.Next(vals) {
			if err = each(vals); err != nil {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return errors.Join(err, rows.Close())
	})
	return readError(err)
}

func (c *readConn) prepare(raw any, text string) (driver.StmtQueryContext, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	conn, ok := raw.(driver.Conn)
	if !ok {
		return nil, fmt.Errorf("graphstore: the driver's connection is a %T", raw)
	}
	prepared, err := conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	s, ok := prepared.(driver.StmtQueryContext)
	if !ok {
		return nil, errors.Join(fmt.Errorf("graphstore: the driver's statement is a %T", prepared), prepared.Close())
	}
	c.stmts[text] = s
	return s, nil
}

// readError lets the errors of callbacks through and makes the rest unavailable.
func readError(err error) error {
	if err == nil || errors.Is(err, errStop) {
		return nil
	}
	if _, ok := errors.AsType[*agentid.Error](err); ok {
		return err
	}
	return agentid.Unavailable("graph_unavailable", err)
}

// txQuerier reads inside a write transaction and sees its own writes.
type txQuerier struct{ tx *sqlitedb.Tx }

func (q txQuerier) query(_ context.Context, text string, args []any, columns int, each rowFunc) error {
	rows, err := q.tx.Query(context.Background(), text, args...)
	if err != nil {
		return readError(err)
	}
	vals := make([]driver.Value, columns)
	scanned, dest := make([]any, columns), make([]any, columns)
	for i := range dest {
		dest[i] = &scanned[i]
	}
	for err == nil && rows.Next() {
		if err = rows.Scan(dest...); err != nil {
			break
		}
		for i := range vals {
			vals[i] = scanned[i]
		}
		err = each(vals)
	}
	return errors.Join(readError(err), readError(errors.Join(rows.Err(), rows.Close())))
}

func asInt(v any) int64 {
	n, _ := v.(int64)
	return n
}

func asText(v any) string {
	s, _ := v.(string)
	return s
}

func asBytes(v any) []byte {
	b, _ := v.([]byte)
	return b
}
