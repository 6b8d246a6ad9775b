-- The log. Positions have no gaps: there is one writer, and rows are never taken away. A
-- row holds one record, or many that were brought in together.
CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY,        -- the position of the first record
    n      INTEGER NOT NULL CHECK (n > 0),
    record BLOB NOT NULL               -- n = 1: the canonical bytes, the leaf; else such lines, compressed
) STRICT;
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Where a request's records are.
CREATE TABLE audit_request (
    request TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (request, seq)
) STRICT, WITHOUT ROWID;

-- Which stretches of the log (positions / 1024) hold a record with a value in a field.
CREATE TABLE audit_key (
    field   INTEGER NOT NULL,          -- tenant, principal, agent, token or kind
    value   TEXT NOT NULL,
    stretch INTEGER NOT NULL,
    PRIMARY KEY (field, value, stretch)
) STRICT, WITHOUT ROWID;

-- Begins without a finish.
CREATE TABLE audit_open (
    request TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL REFERENCES audit (seq)
) STRICT, WITHOUT ROWID;
