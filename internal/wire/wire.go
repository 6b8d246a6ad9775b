// Package wire is what brokers and gateways say to each other: fleet (settings, keys,
// the revocation floor), effects (reserve and settle) and audit. In one process
// each is a function call. It owns the shapes only; the broker implements them and
// the gateway uses them.
package wire

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// Connector is the setting of one connector of a tenant, as a gateway serves it.
type Connector struct {
	Ref      agentid.Ref
	Kind     string // "payments"
	Resource string // the audience and public URL at the gateway: scheme://host[:port]
	Upstream string // scheme://host[:port] of the API behind it; empty when IntrospectionOnly

	AllowPrivateUpstream bool          // the dialler takes loopback and private addresses
	AllowBearer          bool          // unbound tokens are taken
	BearerLifetime       time.Duration // the longest life of an unbound token
	StrictReadAudit      bool          // reads are audited as durably as effects
	IntrospectionOnly    bool          // no gateway: the service asks introspection itself

	Rates      Rates
	Credential agentid.Secret // the upstream's; never leaves the gateway but upstream
	Version    int64          // moves on every change
}

// Rates are GCRA limits; zero takes the gateway's default.
type Rates struct {
	TokenPerMinute, TokenBurst int
	AgentPerMinute, AgentBurst int
}

// Fleet is what a gateway learns from its broker. An error from any method means
// that the broker cannot be asked: deny with 503.
type Fleet interface {
	// Connectors lists the connectors to serve. It answers from memory.
	Connectors(ctx context.Context) ([]Connector, error)
	// Key gives the public key that issuer signs with under kid. An unknown key is
	// KindUnauthenticated: deny with 401.
	Key(ctx context.Context, issuer, kid string) (jose.JSONWebKey, error)
	// Floor is the newest revocation that was settled: no decision may be made at an
	// older revision, and no token of another incarnation is taken.
	Floor(ctx context.Context) (Floor, error)
}

// Floor is the revocation floor.
type Floor struct {
	Zookie      agentid.Zookie
	Epoch       agentid.Epoch
	Incarnation string
}

// Durability says when an audit record counts as written. The zero value is the
// strictest.
type Durability int

// The durabilities.
const (
	OnDisk    Durability = iota // fsynced before Append returns
	HandedOff                   // the operating system has it at return; on disk within 10 ms
)

// Audit appends records. An error means that the log cannot be written: refuse the
// operation that the record is about.
type Audit interface {
	Append(ctx context.Context, r auditlog.Record, d Durability) error
}
