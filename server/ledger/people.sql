-- Identity providers of people and the programs that people sign in to: settings.
CREATE TABLE identity_providers (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE login_clients (
    tenant TEXT NOT NULL, name TEXT NOT NULL, alias TEXT UNIQUE, spec BLOB NOT NULL,
    version INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Our client secret at an identity provider, sealed for its row.
CREATE TABLE provider_secrets (
    tenant TEXT NOT NULL, name TEXT NOT NULL, sealed BLOB NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- Sign-ins under way: requests, authorization codes, device codes. Each is known by the
-- hash of a secret that is not kept, and its content is sealed for its row. A code that
-- was redeemed stays until it expires, with the session that was made of it.
CREATE TABLE login_flows (
    hash BLOB PRIMARY KEY, kind INTEGER NOT NULL, tenant TEXT NOT NULL, alias BLOB UNIQUE,
    sealed BLOB NOT NULL, session TEXT NOT NULL, spent INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_flows_expires ON login_flows (expires);

-- A session is one sign-in with all the refresh tokens that followed from it. upstream
-- is the identity provider's refresh token, sealed for its row, or empty.
CREATE TABLE login_sessions (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, principal TEXT NOT NULL,
    client TEXT NOT NULL, provider TEXT NOT NULL, upstream BLOB NOT NULL,
    revoked INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_sessions_principal ON login_sessions (principal, created);
CREATE INDEX login_sessions_expires ON login_sessions (expires);

-- Tokens of sessions: hashes only. A refresh token that was used stays until it expires,
-- so that its second use is seen.
CREATE TABLE login_tokens (
    hash BLOB PRIMARY KEY, session TEXT NOT NULL, kind INTEGER NOT NULL, used INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_tokens_expires ON login_tokens (expires);
CREATE INDEX login_tokens_session ON login_tokens (session);

-- The relationships that a principal has by its groups: written before they are made, and
-- forgotten after they are gone.
CREATE TABLE group_edges (
    principal TEXT NOT NULL, edge TEXT NOT NULL, provider TEXT NOT NULL, PRIMARY KEY (principal, edge)
) STRICT, WITHOUT ROWID;

-- Standing delegations, and the agents that live by one.
CREATE TABLE delegations (
    tenant TEXT NOT NULL, id TEXT NOT NULL, principal TEXT NOT NULL, agent_type TEXT NOT NULL, spec BLOB NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, revoked INTEGER NOT NULL, PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX delegations_principal ON delegations (principal, id);
CREATE TABLE delegation_agents (
    agent TEXT NOT NULL, delegation TEXT NOT NULL, PRIMARY KEY (agent, delegation)
) STRICT, WITHOUT ROWID;
CREATE INDEX delegation_agents_of ON delegation_agents (delegation);
