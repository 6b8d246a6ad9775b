package sqlitedb_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// TestWhatMovesAGeneration: every statement that may change or take away a row, in whatever
// way it is written and run; nothing that only reads or adds; and no other table's.
func TestWhatMovesAGeneration(t *testing.T) {
	db := open(t, t.TempDir())
	run := func(texts ...string) {
		t.Helper()
		require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			for _, text := range texts {
				if _, err := tx.Exec(t.Context(), text); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	run(`CREATE TABLE thing (name TEXT PRIMARY KEY, n INTEGER)`, `CREATE TABLE other_thing (name TEXT PRIMARY KEY)`)
	g, set := db.Watch("thing"), db.WatchSets("thing")
	for text, moves := range map[string]bool{
		`INSERT INTO thing (name, n) VALUES (hex(randomblob(8)), 1)`: false,
		`SELECT n FROM thing`:                                    false,
		`UPDATE other_thing SET name = 'b'`:                      false,
		`DELETE FROM other_thing`:                                false,
		`UPDATE thing SET n = 2`:                                 true,
		`update Thing set n = 2`:                                 true,
		`UPDATE OR REPLACE "thing" SET n = 2`:                    true,
		`DELETE FROM thing WHERE name = 'nobody'`:                true,
		`INSERT OR REPLACE INTO thing (name, n) VALUES ('a', 3)`: true,
		`REPLACE INTO thing (name, n) VALUES ('a', 3)`:           true,
		`INSERT INTO thing (name, n) VALUES ('a', 3) ON CONFLICT (name) DO UPDATE SET n = 4`:        true,
		`WITH some AS (SELECT 'a' AS name) DELETE FROM thing WHERE name IN (SELECT name FROM some)`: true,
		`DELETE FROM other_thing; DELETE FROM thing`:                                                true,
		`INSERT INTO other_thing (name) VALUES ('z'); UPDATE thing SET n = 9`:                       true,
		`ALTER TABLE thing ADD COLUMN m INTEGER`:                                                    true,
	} {
		before, beforeSet := g.Now(), set.Now()
		run(text)
		require.Equal(t, moves, g.Now() != before, text)
		adds := strings.HasPrefix(text, "INSERT INTO thing")
		require.Equal(t, moves || adds, set.Now() != beforeSet, "of a set: %s", text)
	}
	before := g.Now()
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		rows, err := tx.Query(t.Context(), `UPDATE thing SET n = 5 RETURNING n`)
		require.NoError(t, err)
		return errors.Join(rows.Err(), rows.Close())
	}))
	require.NotEqual(t, before, g.Now(), "as a query")
}

// TestAGenerationMovesWithTheCommit: not before anybody could read the write, and before
// Write returns; a write that was taken back may move it and must not be missed.
func TestAGenerationMovesWithTheCommit(t *testing.T) {
	db := open(t, t.TempDir())
	g := db.Watch("entry")
	before := g.Now()
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		require.True(t, tx.Unmoved(g, before))
		require.False(t, tx.Unmoved(g, before+1))
		_, err := tx.Exec(t.Context(), `DELETE FROM entry`)
		require.Equal(t, before, g.Now())
		require.False(t, tx.Unmoved(g, before), "its own write")
		return err
	}))
	require.Equal(t, before+1, g.Now())
	failed := errors.New("no")
	require.ErrorIs(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM entry`)
		return errors.Join(err, failed)
	}), failed)
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		require.True(t, tx.Unmoved(g, g.Now()))
		return nil
	}))
}
