package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Connector is the setting of one connector, without its credential. The fields mean
// what those of wire.Connector do.
type Connector struct {
	Ref                  agentid.Ref   `json:"ref"`
	Kind                 string        `json:"kind"`
	Resource             string        `json:"resource"`
	Upstream             string        `json:"upstream,omitempty"`
	AllowPrivateUpstream bool          `json:"allow_private_upstream,omitempty"`
	AllowBearer          bool          `json:"allow_bearer,omitempty"`
	StrictReadAudit      bool          `json:"strict_read_audit,omitempty"`
	IntrospectionOnly    bool          `json:"introspection_only,omitempty"`
	BearerLifetime       time.Duration `json:"bearer_lifetime,omitempty"`
	Rates                wire.Rates    `json:"rates,omitzero"`
	Meta                 `json:"-"`
}

var connectors = kind[Connector]{
	name:   "connector",
	table:  objectTable("connectors"),
	id:     func(c *Connector) (string, string) { return c.Ref.Tenant(), c.Ref.Name() },
	alias:  func(c *Connector) string { return c.Resource },
	meta:   func(c *Connector) *Meta { return &c.Meta },
	refers: func(c *Connector) []reference { return []reference{tenantReference(c.Ref.Tenant())} },
	usedBy: []string{`SELECT 1 FROM templates WHERE tenant = ? AND json_extract(CAST(spec AS TEXT), '$.connector') = ? LIMIT 1`},
	check:  checkConnector,
}

func checkConnector(c *Connector) error {
	if err := checkRef("connector", c.Ref, agentid.TypeConnector); err != nil {
		return err
	}
	if c.Kind == "" || len(c.Kind) > 64 {
		return agentid.Invalidf("kind", "want the name of a kind of connector")
	}
	if err := checkOrigin("resource", c.Resource, false); err != nil {
		return err
	}
	if !c.IntrospectionOnly || c.Upstream != "" {
		if err := checkOrigin("upstream", c.Upstream, true); err != nil {
			return err
		}
	}
	if c.BearerLifetime < 0 {
		return agentid.Invalidf("bearer_lifetime", "must not be negative")
	}
	if r := c.Rates; min(r.TokenPerMinute, r.TokenBurst, r.AgentPerMinute, r.AgentBurst) < 0 {
		return agentid.Invalidf("rates", "must not be negative")
	}
	return nil
}

// checkOrigin wants scheme://host[:port] in the one spelling that is compared byte for
// byte; an upstream may have a path.
func checkOrigin(field, s string, path bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > maxSubject || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
	case !path && u.Scheme+"://"+strings.ToLower(u.Host) != s:
	case path && u.Path != "" && !strings.HasPrefix(u.Path, "/"):
	default:
		return nil
	}
	return agentid.Invalidf(field, "want scheme://host[:port] in lower case, without user, query or fragment")
}

// PutConnector creates or replaces a connector; see PutTenant. KindConflict
// connector_exists when another connector has the same resource.
func (l *Ledger) PutConnector(ctx context.Context, c Connector, records ...auditlog.Record) (Connector, bool, error) {
	return connectors.put(ctx, l, c, records, l.changeOf(c.Ref))
}

// ConnectorSetting reads one connector: KindNotFound connector_unknown.
func (l *Ledger) ConnectorSetting(ctx context.Context, ref agentid.Ref) (Connector, error) {
	if err := checkRef("connector", ref, agentid.TypeConnector); err != nil {
		return Connector{}, err
	}
	return connectors.get(ctx, l.reader(), ref.Tenant(), ref.Name())
}

// ConnectorSettings lists a tenant's connectors in order of their names.
func (l *Ledger) ConnectorSettings(ctx context.Context, tenant string, p Page) ([]Connector, error) {
	return connectors.list(ctx, l.reader(), tenant, p)
}

// DeleteConnector deletes a connector that no template names, with its credential and
// its service client's secrets.
func (l *Ledger) DeleteConnector(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) error {
	if err := checkRef("connector", ref, agentid.TypeConnector); err != nil {
		return err
	}
	return connectors.remove(ctx, l, ref.Tenant(), ref.Name(), ref.String(), records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM credentials WHERE tenant = ? AND name = ?`, ref.Tenant(), ref.Name()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM secrets WHERE class = ? AND subject = ?`, classClient, ref.String())
		return err
	}, l.changeOf(ref))
}

// Connectors are all connectors of all tenants with their credentials opened, for the
// fleet. Each Version grows with every change of that connector or its credential.
func (l *Ledger) Connectors(ctx context.Context) ([]wire.Connector, error) {
	var out []wire.Connector
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		c, err := l.scanConnector(r)
		out = append(out, c)
		return err
	}, `SELECT c.tenant, c.name, c.spec, coalesce(d.sealed, x''), CAST(coalesce(m.value, x'30') AS INTEGER)
		FROM connectors c LEFT JOIN credentials d ON d.tenant = c.tenant AND d.name = c.name
		LEFT JOIN meta m ON m.name = '`+metaChange+`:' || c.tenant || '/' || c.name
		ORDER BY c.tenant, c.name`)
	return out, err
}

func (l *Ledger) scanConnector(r *sql.Rows) (wire.Connector, error) {
	var tenant, name string
	var spec, sealed []byte
	var version int64
	if err := r.Scan(&tenant, &name, &spec, &sealed, &version); err != nil {
		return wire.Connector{}, readError(err)
	}
	var c Connector
	if err := json.Unmarshal(spec, &c); err != nil {
		return wire.Connector{}, err
	}
	credential, err := l.openCredential(tenant, name, sealed)
	return wire.Connector{
		Ref: c.Ref, Kind: c.Kind, Resource: c.Resource, Upstream: c.Upstream,
		AllowPrivateUpstream: c.AllowPrivateUpstream, AllowBearer: c.AllowBearer,
		StrictReadAudit: c.StrictReadAudit, IntrospectionOnly: c.IntrospectionOnly,
		BearerLifetime: c.BearerLifetime, Rates: c.Rates, Credential: credential, Version: version,
	}, err
}

// Changed is closed at the next change of a connector, a credential, a signing key, the
// floor or the incarnation. Take it before reading, so that nothing is missed.
func (l *Ledger) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Ledger) notifyChanged() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// changeOf counts a change, and leaves its number with the connector: also with a
// deleted one, so that one of the same name never has an old version again.
func (l *Ledger) changeOf(ref agentid.Ref) func(context.Context, *sqlitedb.Tx) error {
	return func(ctx context.Context, tx *sqlitedb.Tx) error {
		n, err := getMetaInt(ctx, tx.Query, metaChange)
		if err != nil {
			return err
		}
		if err := setMetaInt(ctx, tx, metaChange, n+1); err != nil {
			return err
		}
		tx.OnCommit(l.notifyChanged)
		return setMetaInt(ctx, tx, metaChange+":"+ref.ObjectID(), n+1)
	}
}
