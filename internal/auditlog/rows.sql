-- A row holds one record, or many that were brought in together; the index says which
-- stretches of the log hold a value, and not where each record is.
CREATE TABLE audit_row (
    seq    INTEGER PRIMARY KEY,        -- the position of the first record
    n      INTEGER NOT NULL CHECK (n > 0),
    record BLOB NOT NULL               -- n = 1: the canonical bytes, the leaf; else such lines, compressed
) STRICT;
INSERT INTO audit_row SELECT seq, 1, record FROM audit;
DROP INDEX audit_tenant;
DROP INDEX audit_principal;
DROP INDEX audit_agent;
DROP INDEX audit_token;
DROP INDEX audit_request;

-- Where a request's records are.
CREATE TABLE audit_request (
    request TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (request, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_request SELECT request, seq FROM audit WHERE request <> '';

-- Which stretches of the log (positions / 1024) hold a record with a value in a field.
CREATE TABLE audit_key (
    field   INTEGER NOT NULL,          -- 1 tenant, 2 principal, 3 agent, 4 token, 5 kind
    value   TEXT NOT NULL,
    stretch INTEGER NOT NULL,
    PRIMARY KEY (field, value, stretch)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_key
    SELECT 1, tenant, seq / 1024 FROM audit WHERE tenant <> '' UNION
    SELECT 2, principal, seq / 1024 FROM audit WHERE principal <> '' UNION
    SELECT 3, agent, seq / 1024 FROM audit WHERE agent <> '' UNION
    SELECT 4, token, seq / 1024 FROM audit WHERE token <> '' UNION
    SELECT 5, kind, seq / 1024 FROM audit;

CREATE TABLE audit_begun AS SELECT request, seq FROM audit_open;
DROP TABLE audit_open;
DROP TABLE audit;
ALTER TABLE audit_row RENAME TO audit;
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Begins without a finish.
CREATE TABLE audit_open (
    request TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL REFERENCES audit (seq)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_open SELECT request, seq FROM audit_begun;
DROP TABLE audit_begun;
