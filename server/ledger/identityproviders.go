package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// TypeIdentityProvider and TypeLoginClient are the types in the refs of these settings.
const (
	TypeIdentityProvider = "identity_provider"
	TypeLoginClient      = "login_client"
)

// LoginFlow is one way in which people of an identity provider may come in.
type LoginFlow string

// The flows.
const (
	FlowLogin    LoginFlow = "login"    // authorization code with PKCE, in a browser
	FlowDevice   LoginFlow = "device"   // RFC 8628: a browser on another machine
	FlowExchange LoginFlow = "exchange" // an ID or access token as subject token (RFC 8693)
	FlowIDJAG    LoginFlow = "id_jag"   // an identity assertion by the jwt-bearer grant
)

// IdentityProvider is an OIDC provider of a tenant's people, without our secret there.
type IdentityProvider struct {
	Tenant       string        `json:"tenant"`
	Name         string        `json:"name"`
	Display      string        `json:"display,omitempty"`
	Issuer       string        `json:"issuer"`              // exactly as its documents and tokens say
	ClientID     string        `json:"client_id"`           // ours, there
	Audiences    []string      `json:"audiences,omitempty"` // beside ClientID, of tokens that are presented
	Scopes       []string      `json:"scopes,omitempty"`    // asked for beside openid
	Claims       ClaimMapping  `json:"claims,omitzero"`
	Groups       []GroupRule   `json:"groups,omitempty"`
	Flows        []LoginFlow   `json:"flows"`
	Declared     bool          `json:"declared,omitempty"` // people must be declared; a first login makes nobody
	MaxStale     time.Duration `json:"max_stale,omitempty"`
	AllowPrivate bool          `json:"allow_private,omitempty"` // loopback and private addresses, http on loopback
	Meta         `json:"-"`
}

// ClaimMapping names the claims that are read. Empty: the default.
type ClaimMapping struct {
	Subject string `json:"subject,omitempty"` // default "sub"
	Groups  string `json:"groups,omitempty"`  // default "groups"
	Name    string `json:"name,omitempty"`    // default "name"
}

// GroupRule gives everyone in a group one relation to one object of the tenant.
type GroupRule struct {
	Group    string      `json:"group"`
	Resource agentid.Ref `json:"resource"`
	Relation string      `json:"relation"`
}

// Ref names the provider in audit rows.
func (p IdentityProvider) Ref() agentid.Ref {
	ref, _ := agentid.ResourceRef(TypeIdentityProvider, p.Tenant, p.Name) // zero if it is malformed
	return ref
}

// Allows reports whether a flow is switched on.
func (p IdentityProvider) Allows(flow LoginFlow) bool { return slices.Contains(p.Flows, flow) }

var identityProviders = kind[IdentityProvider]{
	name:   TypeIdentityProvider,
	table:  objectTable("identity_providers"),
	id:     func(p *IdentityProvider) (string, string) { return p.Tenant, p.Name },
	alias:  func(p *IdentityProvider) string { return subjectAlias(p.Tenant, p.Issuer, "issuer") },
	meta:   func(p *IdentityProvider) *Meta { return &p.Meta },
	refers: func(p *IdentityProvider) []reference { return []reference{tenantReference(p.Tenant)} },
	check: func(p *IdentityProvider) error {
		if _, err := agentid.ResourceRef(TypeIdentityProvider, p.Tenant, p.Name); err != nil {
			return err
		}
		if p.Issuer == "" || len(p.Issuer) > maxSubject || p.ClientID == "" || len(p.ClientID) > maxSubject {
			return agentid.Invalidf("issuer", "issuer and client_id are required, of at most %d bytes", maxSubject)
		}
		return checkDisplay(p.Display)
	},
}

// PutIdentityProvider creates or replaces a provider; see PutTenant. KindConflict
// identity_provider_exists when another one of the tenant has the same issuer.
func (l *Ledger) PutIdentityProvider(ctx context.Context, p IdentityProvider, records ...auditlog.Record) (IdentityProvider, bool, error) {
	return identityProviders.put(ctx, l, p, records)
}

// IdentityProvider reads one: KindNotFound identity_provider_unknown.
func (l *Ledger) IdentityProvider(ctx context.Context, tenant, name string) (IdentityProvider, error) {
	return identityProviders.get(ctx, l.reader(), tenant, name)
}

// IdentityProviderByIssuer finds a tenant's provider by its exact issuer: KindNotFound
// identity_provider_unknown.
func (l *Ledger) IdentityProviderByIssuer(ctx context.Context, tenant, issuer string) (IdentityProvider, error) {
	return identityProviders.first(ctx, l.reader(), identityProviders.table.byAlias, subjectAlias(tenant, issuer, "issuer"))
}

// IdentityProviders lists a tenant's providers in order of their names.
func (l *Ledger) IdentityProviders(ctx context.Context, tenant string, p Page) ([]IdentityProvider, error) {
	return identityProviders.list(ctx, l.reader(), tenant, p)
}

// DeleteIdentityProvider deletes a provider with its secret. Sessions that came by it
// are revoked.
func (l *Ledger) DeleteIdentityProvider(ctx context.Context, tenant, name string, records ...auditlog.Record) error {
	return identityProviders.remove(ctx, l, tenant, name, "", records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM provider_secrets WHERE tenant = ? AND name = ?`, tenant, name); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE login_sessions SET revoked = ?, upstream = x'' WHERE tenant = ? AND provider = ? AND revoked = 0`, micros(l.now()), tenant, name)
		return err
	})
}

// PutProviderSecret seals our client secret at a provider: KindNotFound
// identity_provider_unknown.
func (l *Ledger) PutProviderSecret(ctx context.Context, tenant, name string, secret agentid.Secret, records ...auditlog.Record) error {
	if n := len(secret.Reveal()); n == 0 || n > maxCredential {
		return agentid.Invalidf("client_secret", "want 1 to %d bytes", maxCredential)
	}
	sealed, err := l.cfg.SealKey.Seal([]byte(secret.Reveal()), "provider_secret", tenant, name)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if ok, err := exists(ctx, tx.Query, identityProviders.table.exists, tenant, name); err != nil || !ok {
			if err == nil {
				err = identityProviders.unknown()
			}
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO provider_secrets (tenant, name, sealed, version) VALUES (?,?,?,1)
			ON CONFLICT (tenant, name) DO UPDATE SET sealed = excluded.sealed, version = version + 1`, tenant, name, sealed)
		return err
	})
}

// ProviderSecret opens our client secret at a provider; zero when there is none. The
// version grows with every change.
func (l *Ledger) ProviderSecret(ctx context.Context, tenant, name string) (agentid.Secret, int64, error) {
	var sealed []byte
	var version int64
	found, err := one(ctx, l.reader(), []any{&sealed, &version}, `SELECT sealed, version FROM provider_secrets WHERE tenant = ? AND name = ?`, tenant, name)
	if err != nil || !found {
		return agentid.Secret{}, 0, err
	}
	plain, err := l.cfg.SealKey.Open(sealed, "provider_secret", tenant, name)
	if err != nil {
		return agentid.Secret{}, 0, fmt.Errorf("client secret of identity provider %s/%s: %w", tenant, name, err)
	}
	return agentid.NewSecret(string(plain)), version, nil
}
