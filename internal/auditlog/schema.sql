-- The log. seq has no gaps: there is one writer, and rows are never taken away.
CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY,
    request   TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    principal TEXT NOT NULL,
    agent     TEXT NOT NULL,
    token     TEXT NOT NULL,
    kind      TEXT NOT NULL,
    phase     TEXT NOT NULL,
    record    BLOB NOT NULL -- the canonical bytes: the leaf
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant, seq) WHERE tenant <> '';
CREATE INDEX audit_principal ON audit (principal, seq) WHERE principal <> '';
CREATE INDEX audit_agent ON audit (agent, seq) WHERE agent <> '';
CREATE INDEX audit_token ON audit (token, seq) WHERE token <> '';
CREATE INDEX audit_request ON audit (request, seq) WHERE request <> '';
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Begins without a finish.
CREATE TABLE audit_open (
    request TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL REFERENCES audit (seq)
) STRICT, WITHOUT ROWID;
