-- Rows of effects in the order of their holds, without a counter beside the table. What
-- stands is known in memory: no index serves it.
CREATE TABLE effects_lean (
    seq INTEGER PRIMARY KEY,
    nonce BLOB NOT NULL,
    of INTEGER NOT NULL,
    token TEXT NOT NULL, uses TEXT NOT NULL,
    idem BLOB, digest TEXT NOT NULL,
    hold_key TEXT NOT NULL, hold_amount INTEGER NOT NULL,
    state INTEGER NOT NULL,
    stands INTEGER NOT NULL,
    open INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    request TEXT NOT NULL, begin INTEGER NOT NULL,
    due INTEGER, created INTEGER NOT NULL
) STRICT;
INSERT INTO effects_lean (seq, nonce, of, token, uses, idem, digest, hold_key, hold_amount, state, stands, open, attempt, request, begin, due, created)
    SELECT seq, nonce, of, token, uses, idem, digest, hold_key, hold_amount, state, stands, open, attempt, request, begin, due, created FROM effects;
DROP TABLE effects;
ALTER TABLE effects_lean RENAME TO effects;
CREATE UNIQUE INDEX effects_idem ON effects (idem) WHERE idem IS NOT NULL;
CREATE INDEX effects_due ON effects (due) WHERE due IS NOT NULL;

-- since: the first use. A count ends with its token, hours later at most.
DROP INDEX uses_updated;
ALTER TABLE uses RENAME COLUMN updated TO since;
CREATE INDEX uses_since ON uses (since);
