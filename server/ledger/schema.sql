-- Times are microseconds since 1970 in UTC; 0 is none. Ids are the text form of a ref.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Settings: one shape for all, the content is JSON. alias is what else must be unique.
CREATE TABLE tenants (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE principals (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE agent_types (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE templates (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE connectors (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Upstream credentials, sealed for their row.
CREATE TABLE credentials (
    tenant TEXT NOT NULL, name TEXT NOT NULL, sealed BLOB NOT NULL,
    version INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Secrets that we gave out, of administrators and service clients: hashes only.
CREATE TABLE secrets (
    id      TEXT PRIMARY KEY,
    class   TEXT NOT NULL,
    subject TEXT NOT NULL,
    hash    BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_subject ON secrets (class, subject, id);

CREATE TABLE agents (
    tenant TEXT NOT NULL, name TEXT NOT NULL,
    type TEXT NOT NULL, principal TEXT NOT NULL, parent TEXT NOT NULL,
    jwk BLOB NOT NULL, thumbprint TEXT NOT NULL UNIQUE, ceiling BLOB NOT NULL,
    kind INTEGER NOT NULL,  -- of its link to the parent
    depth INTEGER NOT NULL, -- ancestors above it
    state INTEGER NOT NULL, expires INTEGER NOT NULL,
    reaped INTEGER NOT NULL, -- 1: its edges are gone from the graph
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX agents_type ON agents (type, name);
CREATE INDEX agents_principal ON agents (principal, name);
CREATE INDEX agents_parent ON agents (parent, name) WHERE parent <> '';
-- What is counted against limits: an agent that has not ended holds its slots.
CREATE INDEX agents_held ON agents (principal, expires) WHERE state <> 2;
CREATE INDEX agents_held_type ON agents (principal, type, expires) WHERE state <> 2;
CREATE INDEX agents_held_parent ON agents (parent, expires) WHERE state <> 2 AND parent <> '';
CREATE INDEX agents_spawning ON agents (updated) WHERE state = 3;
CREATE INDEX agents_unreaped ON agents (updated) WHERE state = 2 AND reaped = 0;
CREATE INDEX agents_expired ON agents (expires) WHERE state = 1 AND reaped = 0 AND expires > 0;

-- Keys that agents had before a rotation. No agent ever has one of them again.
CREATE TABLE agent_keys (
    thumbprint TEXT PRIMARY KEY, agent TEXT NOT NULL, since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Why something is frozen. The edge returns when the last reason is gone.
CREATE TABLE freezes (
    ref TEXT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (ref, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY, algorithm TEXT NOT NULL, state INTEGER NOT NULL,
    staged INTEGER NOT NULL, activated INTEGER NOT NULL, retired INTEGER NOT NULL,
    published_until INTEGER NOT NULL, sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm) WHERE state = 2;

-- What was issued. It is an index for people: whether a token is good is the graph's.
CREATE TABLE tokens (
    tenant TEXT NOT NULL, jti TEXT NOT NULL,
    agent TEXT NOT NULL, principal TEXT NOT NULL, audience TEXT NOT NULL,
    issued INTEGER NOT NULL, expires INTEGER NOT NULL, revoked INTEGER NOT NULL, spec BLOB NOT NULL,
    PRIMARY KEY (tenant, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_agent ON tokens (agent, jti);
CREATE INDEX tokens_principal ON tokens (principal, jti);
CREATE INDEX tokens_expires ON tokens (expires);

CREATE TABLE assertions (
    client TEXT NOT NULL, hash BLOB NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (client, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX assertions_expires ON assertions (expires);

CREATE TABLE revocations (
    epoch INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out twice
    target TEXT NOT NULL, tenant TEXT NOT NULL, agent TEXT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL,
    expires INTEGER NOT NULL, created INTEGER NOT NULL, settled INTEGER NOT NULL, zookie TEXT NOT NULL
) STRICT;
CREATE INDEX revocations_open ON revocations (epoch) WHERE settled = 0;
CREATE INDEX revocations_tenant ON revocations (tenant, epoch);

-- One row per Reserve. A row that owns (of = 0) has the use, the hold and the key; a
-- retry points at its owner. due is set while something is unresolved.
CREATE TABLE effects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of holds
    nonce BLOB NOT NULL,                   -- makes the reservation's id unguessable
    of INTEGER NOT NULL,
    token TEXT NOT NULL, uses TEXT NOT NULL, -- uses: the counts it took one from, JSON
    idem BLOB, digest TEXT NOT NULL,
    hold_key TEXT NOT NULL, hold_amount INTEGER NOT NULL,
    state INTEGER NOT NULL,
    stands INTEGER NOT NULL,  -- the hold is unresolved
    open INTEGER NOT NULL,    -- the audit finish is not written
    attempt INTEGER NOT NULL, -- the retry that is in flight
    request TEXT NOT NULL, begin INTEGER NOT NULL,
    due INTEGER, created INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX effects_idem ON effects (idem) WHERE idem IS NOT NULL;
CREATE INDEX effects_hold ON effects (hold_key, seq) WHERE stands = 1 AND hold_key <> '';
CREATE INDEX effects_due ON effects (due) WHERE due IS NOT NULL;

CREATE TABLE uses (
    token TEXT NOT NULL, capability TEXT NOT NULL, used INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (token, capability)
) STRICT, WITHOUT ROWID;
CREATE INDEX uses_updated ON uses (updated);
