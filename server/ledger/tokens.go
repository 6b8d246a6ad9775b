package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Token is one issued capability token, without the token itself.
type Token struct {
	Ref             agentid.Ref
	Agent           agentid.Ref
	Principal       agentid.Ref
	Audience        string
	Issued, Expires time.Time
	Details         json.RawMessage // what was granted: JSON of the caller's, no secret
	Revoked         time.Time       // zero unless a revocation was begun
}

// Issue is what the mint records before a token leaves.
type Issue struct {
	Token     Token
	Assertion Assertion // the client's proof that it is consumed by
	// Basis are the agents and agent types that the token rests on, as they were read.
	Basis []Basis
	// BasisAt is the count of ClientChanges from before they were read; 0: not known. While
	// it has not moved, the Basis has not either.
	BasisAt uint64
	Record  auditlog.Record
}

// Basis is one agent or agent type at one version.
type Basis struct {
	Ref     agentid.Ref
	Version int64
}

// RecordIssue consumes the assertion, indexes the token and writes the audit record, in
// one durable transaction. Any error means that the token must not leave:
// KindUnauthenticated assertion_replayed, KindConflict token_exists, KindUnavailable;
// among the latter agent_changed: a key or a ceiling that the token rests on is another
// by now, so that whoever changed it and then revoked what was issued missed nothing.
func (l *Ledger) RecordIssue(ctx context.Context, i Issue) error {
	t := i.Token
	t.Details = append(json.RawMessage(nil), t.Details...)
	if err := checkToken(&t); err != nil {
		return err
	}
	if err := i.Assertion.check(); err != nil {
		return err
	}
	return l.write(ctx, []auditlog.Record{i.Record}, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := l.useAssertion(ctx, tx, i.Assertion); err != nil {
			return err
		}
		if !tx.Unmoved(l.generations.clients, i.BasisAt) {
			if err := current(ctx, tx, i.Basis); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO tokens (tenant, jti, agent, principal, audience, issued, expires, revoked, spec) VALUES (?,?,?,?,?,?,?,0,?)`,
			t.Ref.Tenant(), t.Ref.Name(), t.Agent.String(), t.Principal.String(), t.Audience, micros(t.Issued), micros(t.Expires), notNil(t.Details))
		if sqlitedb.IsUnique(err) {
			return agentid.Errorf(agentid.KindConflict, "token_exists", "a token with this id was issued already")
		}
		return err
	})
}

// current refuses a basis that has moved.
func current(ctx context.Context, tx *sqlitedb.Tx, basis []Basis) error {
	for _, b := range basis {
		text := `SELECT 1 FROM agents WHERE tenant = ? AND name = ? AND version = ?`
		if b.Ref.Type() == agentid.TypeAgentType {
			text = `SELECT 1 FROM agent_types WHERE tenant = ? AND name = ? AND version = ?`
		}
		same, err := exists(ctx, tx.Query, text, b.Ref.Tenant(), b.Ref.Name(), b.Version)
		if err != nil {
			return err
		}
		if !same {
			return agentid.Unavailable("agent_changed", fmt.Errorf("%s is not at version %d any more", b.Ref, b.Version))
		}
	}
	return nil
}

func checkToken(t *Token) error {
	for _, r := range []struct {
		field, typ string
		ref        agentid.Ref
	}{{"token", agentid.TypeToken, t.Ref}, {"agent", agentid.TypeAgent, t.Agent}, {"principal", agentid.TypePrincipal, t.Principal}} {
		if err := checkRef(r.field, r.ref, r.typ); err != nil {
			return err
		}
		if r.ref.Tenant() != t.Ref.Tenant() {
			return agentid.Invalidf(r.field, "belongs to another tenant")
		}
	}
	if t.Issued.IsZero() || !t.Expires.After(t.Issued) {
		return agentid.Invalidf("expires", "must be after issued")
	}
	return compactJSON("details", &t.Details)
}

// TokenFilter selects tokens. Tenant is required, zero fields select all.
type TokenFilter struct {
	Tenant           string
	Agent, Principal agentid.Ref
	Audience         string
	Page             // After is a jti
}

const tokenColumns = `tenant, jti, agent, principal, audience, issued, expires, revoked, spec` //nolint:gosec // names of columns

// Tokens lists a tenant's tokens that are neither expired nor revoked one by one, in
// order of their ids. Whether one is good also depends on its agent: ask the graph.
func (l *Ledger) Tokens(ctx context.Context, f TokenFilter) ([]Token, error) {
	limit, err := f.limit()
	if err != nil {
		return nil, err
	}
	if f.Tenant == "" {
		return nil, agentid.Invalidf("tenant", "must not be empty")
	}
	var b strings.Builder
	if f.Agent.IsZero() && f.Principal.IsZero() {
		b.WriteString(`SELECT ` + tokenColumns + ` FROM tokens WHERE tenant = ? AND jti > ? AND +expires > ? AND revoked = 0`)
	} else { // a plus keeps a column from choosing the index
		b.WriteString(`SELECT ` + tokenColumns + ` FROM tokens WHERE +tenant = ? AND jti > ? AND +expires > ? AND revoked = 0`)
	}
	args := []any{f.Tenant, f.After, micros(l.now())}
	for _, c := range []struct{ where, value string }{
		{` AND agent = ?`, f.Agent.String()}, {` AND principal = ?`, f.Principal.String()}, {` AND audience = ?`, f.Audience},
	} {
		if c.value != "" {
			b.WriteString(c.where)
			args = append(args, c.value)
		}
	}
	b.WriteString(` ORDER BY jti LIMIT ?`)
	return readTokens(ctx, l.reader(), b.String(), append(args, limit)...)
}

// Token reads one token that was not purged yet: KindNotFound token_unknown.
func (l *Ledger) Token(ctx context.Context, ref agentid.Ref) (Token, error) {
	found, err := readTokens(ctx, l.reader(), `SELECT `+tokenColumns+` FROM tokens WHERE tenant = ? AND jti = ?`, ref.Tenant(), ref.Name())
	if err == nil && (len(found) == 0 || ref.Type() != agentid.TypeToken) {
		err = agentid.Errorf(agentid.KindNotFound, "token_unknown", "there is no such token")
	}
	if err != nil {
		return Token{}, err
	}
	return found[0], nil
}

func readTokens(ctx context.Context, q query, text string, args ...any) ([]Token, error) {
	var out []Token
	err := rows(ctx, q, func(r *sql.Rows) error {
		var t Token
		var tenant, jti, agent, principal string
		var issued, expires, revoked int64
		var details []byte
		if err := r.Scan(&tenant, &jti, &agent, &principal, &t.Audience, &issued, &expires, &revoked, &details); err != nil {
			return readError(err)
		}
		t.Issued, t.Expires, t.Revoked, t.Details = fromMicros(issued), fromMicros(expires), fromMicros(revoked), details
		var err error
		if t.Ref, err = agentid.TokenRef(tenant, jti); err == nil {
			err = parseRefs([]string{agent, principal}, &t.Agent, &t.Principal)
		}
		out = append(out, t)
		return err
	}, text, args...)
	return out, err
}
