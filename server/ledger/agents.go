package ledger

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// AgentState is where an agent stands in its life. The zero AgentState is none.
type AgentState int

// The states.
const (
	AgentActive   AgentState = iota + 1
	AgentRetired             // for good; its id and key are never taken again
	AgentSpawning            // its slots are reserved; its edges may or may not be in the graph
)

// String is "active", "retired", "spawning" or "none".
func (s AgentState) String() string {
	switch s {
	case AgentActive:
		return "active"
	case AgentRetired:
		return "retired"
	case AgentSpawning:
		return "spawning"
	default:
		return "none"
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s AgentState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Agent is one running instance of an agent type. All but its state is written once.
type Agent struct {
	Ref       agentid.Ref
	Type      agentid.Ref
	Principal agentid.Ref     // with a parent: the parent's, and may be left zero
	Parent    agentid.Ref     // zero for one without a parent
	Kind      ChildKind       // of the link to the parent; zero is taken for Attenuated
	Depth     int             // ancestors above it; computed
	PublicKey json.RawMessage // JWK of a public key; one key belongs to one agent of the whole ledger
	// Thumbprint is the key's (RFC 7638, SHA-256, base64url). PutAgent computes it.
	Thumbprint string
	// Ceiling is what no token of it may exceed: JSON of the caller's, opaque here.
	Ceiling json.RawMessage
	State   AgentState // PutAgent makes it active
	Expires time.Time  // zero: never
	Meta
}

// AgentFilter selects agents. Tenant is required, zero fields select all.
type AgentFilter struct {
	Tenant                  string
	Type, Principal, Parent agentid.Ref
	State                   AgentState
	Page
}

const agentColumns = `tenant, name, type, principal, parent, jwk, thumbprint, ceiling, kind, depth, state, expires, version, created, updated`

// MaxLineage is how many agents a lineage may have, the leaf included.
const MaxLineage = 33

// PutAgent creates an agent without reserving anything, or finds that it is there as
// given: changed is then false. It writes no edges and knows no limits: OpenSpawn does.
// Everything of an agent is written once. KindConflict: agent_immutable names the field
// that differs (a zero Expires, and an empty Ceiling, agree with any), agent_retired,
// or key_in_use when the public key belongs to another agent. KindNotFound when type,
// principal or parent do not exist; KindForbidden parent_retired.
func (l *Ledger) PutAgent(ctx context.Context, a Agent, records ...auditlog.Record) (Agent, bool, error) {
	if err := checkAgent(&a); err != nil {
		return Agent{}, false, err
	}
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		have, err := getAgent(ctx, tx.Query, a.Ref)
		if err == nil {
			return errors.Join(sameAgent(have, a), errUnchanged)
		}
		if agentid.KindOf(err) != agentid.KindNotFound {
			return err
		}
		return l.insertAgent(ctx, tx, a)
	})
	if reason := agentid.ReasonOf(err); errors.Is(err, errUnchanged) && reason == "internal" {
		stored, err := l.Agent(ctx, a.Ref)
		return stored, false, err
	}
	if err != nil {
		return Agent{}, false, err
	}
	stored, err := l.Agent(ctx, a.Ref)
	return stored, true, err
}

func (l *Ledger) insertAgent(ctx context.Context, tx *sqlitedb.Tx, a Agent) error {
	for _, r := range []reference{
		tenantReference(a.Ref.Tenant()),
		{kind: "agent_type", query: agentTypes.table.exists, tenant: a.Type.Tenant(), name: a.Type.Name()},
		{kind: "principal", query: principals.table.exists, tenant: a.Principal.Tenant(), name: a.Principal.Name()},
	} {
		if ok, err := exists(ctx, tx.Query, r.query, r.tenant, r.name); err != nil || !ok {
			return errors.Join(err, agentid.Errorf(agentid.KindNotFound, r.kind+"_unknown", "there is no such %s", r.kind).WithField(r.kind))
		}
	}
	if !a.Parent.IsZero() {
		line, err := lineage(ctx, tx.Query, a.Parent)
		if err != nil {
			return err
		}
		if err := checkParent(line[0], a); err != nil {
			return err
		}
		a.Depth = len(line)
	}
	a.State = AgentActive
	return l.addAgent(ctx, tx, a)
}

// addAgent writes a checked agent's row: KindConflict key_in_use when its key belongs or
// belonged to another.
func (l *Ledger) addAgent(ctx context.Context, tx *sqlitedb.Tx, a Agent) error {
	used, err := exists(ctx, tx.Query, `SELECT 1 FROM agent_keys WHERE thumbprint = ?`, a.Thumbprint)
	if err != nil {
		return err
	}
	if used {
		return keyInUse()
	}
	now := micros(l.now())
	_, err = tx.Exec(ctx, `INSERT INTO agents (`+agentColumns+`, reaped) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,1,?,?,0)`,
		a.Ref.Tenant(), a.Ref.Name(), a.Type.String(), a.Principal.String(), a.Parent.String(), []byte(a.PublicKey),
		a.Thumbprint, notNil(a.Ceiling), a.Kind, a.Depth, a.State, micros(a.Expires), now, now)
	if sqlitedb.IsUnique(err) {
		return keyInUse()
	}
	return err
}

func keyInUse() error {
	return agentid.Errorf(agentid.KindConflict, "key_in_use", "the public key belongs to another agent").WithField("public_key")
}

// checkParent is what holds of every parent, whatever the limits.
func checkParent(parent, a Agent) error {
	switch {
	case parent.Depth+2 > MaxLineage:
		return agentid.Errorf(agentid.KindForbidden, "lineage_too_deep", "a lineage has at most %d agents", MaxLineage).WithField("parent")
	case parent.State != AgentActive:
		return agentid.Errorf(agentid.KindForbidden, "parent_retired", "the parent is retired").WithField("parent")
	case parent.Principal != a.Principal:
		return agentid.Errorf(agentid.KindForbidden, "principal_differs", "a child acts for its parent's principal").WithField("principal")
	}
	return nil
}

// Agent reads one agent: KindNotFound agent_unknown.
func (l *Ledger) Agent(ctx context.Context, ref agentid.Ref) (Agent, error) {
	return getAgent(ctx, l.reader(), ref)
}

// AgentByThumbprint finds the agent that a public key belongs to.
func (l *Ledger) AgentByThumbprint(ctx context.Context, thumbprint string) (Agent, error) {
	return firstAgent(readAgents(ctx, l.reader(), `SELECT `+agentColumns+` FROM agents WHERE thumbprint = ?`, thumbprint))
}

// Agents lists a tenant's agents in order of their names.
func (l *Ledger) Agents(ctx context.Context, f AgentFilter) ([]Agent, error) {
	limit, err := f.limit()
	if err != nil {
		return nil, err
	}
	if f.Tenant == "" {
		return nil, agentid.Invalidf("tenant", "must not be empty")
	}
	var b strings.Builder
	if f.Type.IsZero() && f.Principal.IsZero() && f.Parent.IsZero() {
		b.WriteString(`SELECT ` + agentColumns + ` FROM agents WHERE tenant = ? AND name > ?`)
	} else { // a plus keeps a column from choosing the index
		b.WriteString(`SELECT ` + agentColumns + ` FROM agents WHERE +tenant = ? AND name > ?`)
	}
	args := []any{f.Tenant, f.After}
	for _, c := range []struct {
		where string
		ref   agentid.Ref
	}{{` AND type = ?`, f.Type}, {` AND principal = ?`, f.Principal}, {` AND parent <> '' AND parent = ?`, f.Parent}} {
		if !c.ref.IsZero() {
			b.WriteString(c.where)
			args = append(args, c.ref.String())
		}
	}
	if f.State != 0 {
		b.WriteString(` AND state = ?`)
		args = append(args, f.State)
	}
	b.WriteString(` ORDER BY name LIMIT ?`)
	return readAgents(ctx, l.reader(), b.String(), append(args, limit)...)
}

// Lineage is the agent and its ancestors, leaf first.
func (l *Ledger) Lineage(ctx context.Context, ref agentid.Ref) ([]Agent, error) {
	return lineage(ctx, l.reader(), ref)
}

// RetireAgent ends an agent for good; one that is retired already stays as it is.
func (l *Ledger) RetireAgent(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) error {
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error { return l.retire(ctx, tx, ref) })
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// retire gives errUnchanged for an agent that is retired already.
func (l *Ledger) retire(ctx context.Context, tx *sqlitedb.Tx, ref agentid.Ref) error {
	a, err := getAgent(ctx, tx.Query, ref)
	if err != nil {
		return err
	}
	switch a.State {
	case AgentRetired:
		return errUnchanged
	case AgentSpawning:
		return agentid.Unavailable("spawn_in_progress", errors.New("its edges are not known to be in the graph"))
	case AgentActive:
	}
	_, err = tx.Exec(ctx, `UPDATE agents SET state = ?, version = version + 1, updated = ? WHERE tenant = ? AND name = ?`,
		AgentRetired, micros(l.now()), ref.Tenant(), ref.Name())
	return err
}

func checkAgent(a *Agent) error {
	for _, r := range []struct {
		field, typ string
		ref        agentid.Ref
	}{{"agent", agentid.TypeAgent, a.Ref}, {"type", agentid.TypeAgentType, a.Type}, {"principal", agentid.TypePrincipal, a.Principal}, {"parent", agentid.TypeAgent, a.Parent}} {
		if r.field == "parent" && r.ref.IsZero() {
			continue
		}
		if err := checkRef(r.field, r.ref, r.typ); err != nil {
			return err
		}
		if r.ref.Tenant() != a.Ref.Tenant() {
			return agentid.Invalidf(r.field, "belongs to another tenant")
		}
	}
	if a.Parent == a.Ref {
		return agentid.Invalidf("parent", "an agent is not its own parent")
	}
	if a.Kind == 0 {
		a.Kind = Attenuated
	}
	if a.Kind != Attenuated && a.Kind != Independent {
		return agentid.Invalidf("child_kind", "want attenuated or independent")
	}
	if err := compactJSON("ceiling", &a.Ceiling); err != nil {
		return err
	}
	a.Expires = a.Expires.UTC().Truncate(time.Microsecond)
	return a.setKey()
}

// setKey brings the key into its one form and computes the thumbprint.
func (a *Agent) setKey() error {
	var key jose.JSONWebKey
	if err := json.Unmarshal(a.PublicKey, &key); err != nil || !key.Valid() || !key.IsPublic() {
		return agentid.Invalidf("public_key", "want a JWK of a public key")
	}
	thumb, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return agentid.Invalidf("public_key", "want a JWK of a public key")
	}
	a.Thumbprint = base64.RawURLEncoding.EncodeToString(thumb)
	bare := jose.JSONWebKey{Key: key.Key, KeyID: a.Thumbprint, Algorithm: key.Algorithm, Use: "sig"}
	if a.PublicKey, err = bare.MarshalJSON(); err != nil {
		return agentid.Invalidf("public_key", "want a JWK of a public key")
	}
	return nil
}

func sameAgent(have, want Agent) error {
	field := ""
	switch {
	case have.State == AgentRetired:
		return agentid.Errorf(agentid.KindConflict, "agent_retired", "the agent is retired")
	case have.Type != want.Type:
		field = "type"
	case have.Principal != want.Principal:
		field = "principal"
	case have.Parent != want.Parent:
		field = "parent"
	case have.Kind != want.Kind:
		field = "child_kind"
	case have.Thumbprint != want.Thumbprint:
		field = "public_key"
	case len(want.Ceiling) > 0 && string(have.Ceiling) != string(want.Ceiling):
		field = "ceiling"
	case !want.Expires.IsZero() && !have.Expires.Equal(want.Expires):
		field = "expires"
	default:
		return nil
	}
	return agentid.Errorf(agentid.KindConflict, "agent_immutable", "it is written once: start another agent").WithField(field)
}

func getAgent(ctx context.Context, q query, ref agentid.Ref) (Agent, error) {
	if err := checkRef("agent", ref, agentid.TypeAgent); err != nil {
		return Agent{}, err
	}
	return firstAgent(readAgents(ctx, q, `SELECT `+agentColumns+` FROM agents WHERE tenant = ? AND name = ?`, ref.Tenant(), ref.Name()))
}

func firstAgent(found []Agent, err error) (Agent, error) {
	if err == nil && len(found) == 0 {
		err = agentid.Errorf(agentid.KindNotFound, "agent_unknown", "there is no such agent")
	}
	if err != nil {
		return Agent{}, err
	}
	return found[0], nil
}

func lineage(ctx context.Context, q query, leaf agentid.Ref) ([]Agent, error) {
	var line []Agent
	for ref := leaf; !ref.IsZero(); {
		if len(line) == MaxLineage {
			return nil, fmt.Errorf("the lineage of %s does not end", leaf)
		}
		a, err := getAgent(ctx, q, ref)
		if err != nil {
			return nil, err
		}
		line = append(line, a)
		ref = a.Parent
	}
	return line, nil
}

func readAgents(ctx context.Context, q query, text string, args ...any) ([]Agent, error) {
	var out []Agent
	err := rows(ctx, q, func(r *sql.Rows) error {
		var a Agent
		var tenant, name, typ, principal, parent string
		var jwk, ceiling []byte
		var expires, created, updated int64
		if err := r.Scan(&tenant, &name, &typ, &principal, &parent, &jwk, &a.Thumbprint, &ceiling,
			&a.Kind, &a.Depth, &a.State, &expires, &a.Version, &created, &updated); err != nil {
			return readError(err)
		}
		a.PublicKey, a.Ceiling = jwk, ceiling
		a.Expires, a.Created, a.Updated = fromMicros(expires), fromMicros(created), fromMicros(updated)
		var err error
		if a.Ref, err = agentid.AgentRef(tenant, name); err == nil {
			err = parseRefs([]string{typ, principal, parent}, &a.Type, &a.Principal, &a.Parent)
		}
		out = append(out, a)
		return err
	}, text, args...)
	return out, err
}

func parseRefs(texts []string, refs ...*agentid.Ref) error {
	for i, r := range refs {
		if err := r.UnmarshalText([]byte(texts[i])); err != nil {
			return fmt.Errorf("stored ref: %w", err)
		}
	}
	return nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
