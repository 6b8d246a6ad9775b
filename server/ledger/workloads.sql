-- Whose word about workloads counts, and what it is worth.
CREATE TABLE workload_issuers (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE enrolment_rules (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Agents that were admitted by a rule.
CREATE TABLE enrolments (
    tenant TEXT NOT NULL, name TEXT NOT NULL,
    rule TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolments_rule ON enrolments (rule, expires);
CREATE INDEX enrolments_expires ON enrolments (expires);

-- holder: the key that an assertion came with first, where one key may bring it again.
-- used: such an assertion has been used up all the same.
ALTER TABLE assertions ADD COLUMN holder TEXT NOT NULL DEFAULT '';
ALTER TABLE assertions ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
