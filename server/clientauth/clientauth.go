// Package clientauth finds out who is calling an endpoint of the broker: an agent by
// private_key_jwt (RFC 7523, rfc7523bis), or a connector's service client by
// client_secret_basic. Agents that an issuer outside vouches for come by package enrol.
//
// It owns which methods there are, that a request uses one of them, and that an unknown
// client and a wrong key look alike. What an assertion must say is capability/clientauth's;
// whether the agent may do anything is the graph's: a frozen agent authenticates.
package clientauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Directory is what the ledger knows of clients. KindNotFound refuses the client;
// KindUnavailable is an outage and is told as one.
type Directory interface {
	Lineage(ctx context.Context, ref agentid.Ref) ([]ledger.Agent, error)
	AgentType(ctx context.Context, ref agentid.Ref) (ledger.AgentType, error)
	Principal(ctx context.Context, ref agentid.Ref) (ledger.Principal, error)
	// AuthenticateClient is KindUnauthenticated for a secret that is not this client's.
	AuthenticateClient(ctx context.Context, connector agentid.Ref, secret agentid.Secret) error
	// ClientChanges counts what may have changed what Lineage, AgentType and Principal give.
	ClientChanges() recall.Generation
	// UseAssertion is KindUnauthenticated "assertion_replayed" for one that was used.
	UseAssertion(ctx context.Context, a ledger.Assertion, records ...auditlog.Record) error
}

// Config configures New. Directory and Issuers are required.
type Config struct {
	Directory Directory
	Issuers   discovery.Issuers
	Now       func() time.Time // default: time.Now
}

// Authenticator is safe for concurrent use.
type Authenticator struct {
	cfg    Config
	agents *known
}

// Client is who called. The zero Client is nobody.
type Client struct {
	Method     Method
	Agent      issue.Agent      // by PrivateKeyJWT, or of a Workload
	Thumbprint string           // of the agent's key
	Assertion  ledger.Assertion // not used up yet: the mint or Spend does that
	Connector  agentid.Ref      // by ClientSecretBasic
}

// New checks cfg.
func New(cfg Config) (*Authenticator, error) {
	if cfg.Directory == nil || cfg.Issuers.Root() == "" {
		return nil, errors.New("clientauth: directory and issuers are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	agents, err := newKnown(cfg.Directory)
	if err != nil {
		return nil, err
	}
	return &Authenticator{cfg: cfg, agents: agents}, nil
}

// Agent authenticates an agent at the endpoint of an issuer. Errors: KindInvalid for an
// ambiguous or half credential, KindUnauthenticated for a missing or wrong one,
// KindUnavailable when the ledger cannot be asked.
func (a *Authenticator) Agent(ctx context.Context, issuer string, r *http.Request, form httpx.Form) (Client, error) {
	p, err := read(r, form)
	if err != nil {
		return Client{}, err
	}
	if p.method != PrivateKeyJWT {
		return Client{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_method", "this endpoint takes private_key_jwt")
	}
	return a.agent(ctx, issuer, p)
}

// Any authenticates an agent or a service client, with the errors of Agent.
func (a *Authenticator) Any(ctx context.Context, issuer string, r *http.Request, form httpx.Form) (Client, error) {
	p, err := read(r, form)
	if err != nil {
		return Client{}, err
	}
	if p.method == PrivateKeyJWT {
		return a.agent(ctx, issuer, p)
	}
	return a.service(ctx, issuer, p)
}

// Enrolled describes an agent that an issuer outside vouches for. The caller has verified
// that, and that the agent's key is in its hands.
func (a *Authenticator) Enrolled(ctx context.Context, ref agentid.Ref) (Client, error) {
	at := a.agents.now()
	who, err := a.agents.identify(ctx, at, ref)
	if err != nil {
		return Client{}, incomplete(err)
	}
	agent, err := a.agents.describe(ctx, at, who)
	if err != nil {
		return Client{}, err
	}
	return Client{Method: Workload, Agent: agent, Thumbprint: who.line[0].Thumbprint}, nil
}

// Spend uses up the assertion of a client that authenticated by one, and appends the
// records in the same transaction.
func (a *Authenticator) Spend(ctx context.Context, c Client, records ...auditlog.Record) error {
	if c.Method != PrivateKeyJWT && c.Method != Workload {
		return errors.New("clientauth: there is no assertion to spend")
	}
	return a.cfg.Directory.UseAssertion(ctx, c.Assertion, records...)
}

func (a *Authenticator) service(ctx context.Context, issuer string, p presented) (Client, error) {
	connector, err := agentid.ParseRefAs(agentid.TypeConnector, p.clientID)
	if err == nil {
		err = a.belongs(issuer, connector)
	}
	if err == nil {
		err = a.cfg.Directory.AuthenticateClient(ctx, connector, p.secret)
	}
	if err != nil {
		return Client{}, stranger(err)
	}
	return Client{Method: ClientSecretBasic, Connector: connector}, nil
}

func (a *Authenticator) agent(ctx context.Context, issuer string, p presented) (Client, error) {
	at := a.agents.now()
	var who *identity
	key := func(ctx context.Context, clientID, _ string) (jose.JSONWebKey, error) {
		ref, err := agentid.ParseRefAs(agentid.TypeAgent, strings.Clone(clientID)) // it is remembered longer than the request
		if err != nil {
			return jose.JSONWebKey{}, err
		}
		if err := a.belongs(issuer, ref); err != nil {
			return jose.JSONWebKey{}, err
		}
		if who, err = a.agents.identify(ctx, at, ref); err != nil {
			return jose.JSONWebKey{}, err
		}
		if who.line[0].State != ledger.AgentActive {
			return jose.JSONWebKey{}, agentid.Errorf(agentid.KindForbidden, "agent_retired", "the agent is retired")
		}
		return who.key, nil
	}
	verified, err := clientauth.Verify(ctx, p.assertion, clientauth.Expect{
		Issuer: issuer, ClientID: p.clientID, Keys: key, Now: a.cfg.Now(),
	})
	if err != nil {
		if reason := agentid.ReasonOf(err); reason == clientauth.ReasonKey || reason == clientauth.ReasonSignature {
			return Client{}, stranger(err)
		}
		return Client{}, err
	}
	agent, err := a.agents.describe(ctx, at, who)
	if err != nil {
		return Client{}, err
	}
	return Client{
		Method: PrivateKeyJWT, Agent: agent, Thumbprint: who.line[0].Thumbprint,
		Assertion: ledger.Assertion{Client: agent.Ref, ID: verified.ID, Expires: verified.Expiry.Add(clientauth.Skew)},
	}, nil
}

// belongs refuses a client of another tenant than the issuer's.
func (a *Authenticator) belongs(issuer string, client agentid.Ref) error {
	tenant, ok := a.cfg.Issuers.Tenant(issuer)
	if !ok || tenant != "" && tenant != client.Tenant() {
		return agentid.Errorf(agentid.KindNotFound, "client_unknown", "no such client at this issuer")
	}
	return nil
}

// stranger makes one answer of "no such client" and "not its key", so that nobody can
// find out which clients exist. An outage stays one.
func stranger(err error) error {
	if agentid.KindOf(err) == agentid.KindUnavailable || agentid.KindOf(err) == agentid.KindInternal {
		return err
	}
	return agentid.Errorf(agentid.KindUnauthenticated, "client_not_authenticated",
		"the client is not known here, or the credential is not its own").WithCause(err)
}
