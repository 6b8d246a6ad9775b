package sqlitedb_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

type named int

type valued struct{ text string }

func (v valued) Value() (driver.Value, error) {
	if v.text == "" {
		return nil, errMine
	}
	return v.text, nil
}

// TestArgumentsAreThoseOfDatabaseSQL: what a statement stores is what it is given, and an
// argument that cannot be stored takes back its caller's part only.
func TestArgumentsAreThoseOfDatabaseSQL(t *testing.T) {
	db := open(t, t.TempDir())
	const text = `INSERT INTO entry (body) VALUES (coalesce(?, 'null') || ':' || typeof(?1))`
	var absent *string
	for want, arg := range map[string]any{
		"7:integer": named(7), "8:integer": int32(8), "1:integer": true, "x:text": "x", "v:text": valued{"v"},
		"null:null": nil, "9:integer": sql.NullInt64{Int64: 9, Valid: true}, "1.5:real": 1.5,
	} {
		require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(t.Context(), text, arg)
			return err
		}))
		var n int
		require.NoError(t, db.Readers().QueryRow(`SELECT count(*) FROM entry WHERE body = ?`, want).Scan(&n))
		require.Equal(t, 1, n, "%s", want)
	}
	before := count(t, db)
	for _, arg := range []any{valued{}, struct{}{}, []int{1}} {
		require.Error(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(t.Context(), text, arg)
			return err
		}), "%T", arg)
	}
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM entry WHERE body = 'null:null'`)
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), text, absent)
		return err
	}), "a nil pointer is a null")
	require.Equal(t, before, count(t, db))
}

// TestManyStatements: texts beyond those that are kept run all the same, and one that
// cannot be read is its caller's error.
func TestManyStatements(t *testing.T) {
	db := open(t, t.TempDir())
	const texts = 600
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		for i := range texts {
			if _, err := tx.Exec(t.Context(), fmt.Sprintf(`INSERT INTO entry (body) VALUES ('%d')`, i)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Equal(t, texts, count(t, db))
	require.Error(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO nowhere VALUES (1)`)
		return err
	}))
	require.NoError(t, insert(db, "after"))
}
