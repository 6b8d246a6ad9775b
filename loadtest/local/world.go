package local

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/yamlfile"
	"github.com/agentid-dev/agentid/server/admin"
)

const (
	agentType   = "worker"
	principal   = "alice"
	connector   = "stripe"
	hostSuffix  = ".localhost"
	lifetime    = 7 * 24 * time.Hour
	registerers = 8
)

// tenantDocuments is one tenant's policy: its agents read, preview and refund, within the
// caveats and the person's own bounds.
const tenantDocuments = `kind: tenant
name: %[1]s
max_depth: 31
max_live: 1000000
---
kind: principal
tenant: %[1]s
name: alice
type: human
---
kind: connector
tenant: %[1]s
name: stripe
type: payments
resource: %[2]s
upstream: %[3]s
allow_private_upstream: true
allow_bearer: true
bearer_seconds: 3600
credential: %[4]s
---
kind: agent_type
tenant: %[1]s
name: worker
launchers: [alice]
children: [worker]
max_depth: 31
max_children: 100000
max_live: 1000000
max_lifetime_seconds: 604800
---
kind: template
tenant: %[1]s
name: read
connector: stripe
arguments: { customer: { type: id } }
resource: payments_customer:{customer}
operations: [payments:read_customer]
---
kind: template
tenant: %[1]s
name: preview
connector: stripe
arguments: { customer: { type: id } }
resource: payments_customer:{customer}
operations: [payments:preview_invoice]
constraints:
  amount: { max: 1000000000, currency: usd }
---
kind: template
tenant: %[1]s
name: refund
connector: stripe
arguments: { customer: { type: id } }
resource: payments_customer:{customer}
operations: [payments:refund]
constraints:
  amount: { max: 1000000, currency: usd, at_most_fact: charge.refundable }
  uses: { max: 1000000000 }
---
kind: grant
resource: payments_account:%[1]s/stripe
relation: reader
subject: agent_type:%[1]s/worker
---
kind: grant
resource: payments_account:%[1]s/stripe
relation: refunder
subject: agent_type:%[1]s/worker
caveat: payments_limit
context: { max_amount: 2000000, currencies: [usd] }
---
kind: grant
resource: payments_account:%[1]s/stripe
relation: reader
subject: principal:%[1]s/alice
---
kind: grant
resource: payments_account:%[1]s/stripe
relation: previewer
subject: agent_type:%[1]s/worker
caveat: payments_limit
context: { max_amount: 2000000000, currencies: [usd] }
---
kind: grant
resource: payments_account:%[1]s/stripe
relation: previewer
subject: principal:%[1]s/alice
caveat: payments_limit
context: { max_amount: 3000000000, currencies: [usd] }
---
kind: grant
resource: payments_account:%[1]s/stripe
relation: refunder
subject: principal:%[1]s/alice
caveat: payments_limit
context: { max_amount: 3000000, currencies: [usd] }
`

// declare makes the tenants, all in one apply each, and the secrets of their services.
func (d *Deployment) declare(ctx context.Context) error {
	_, port, err := net.SplitHostPort(d.Gateway)
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	for i := range max(1, d.cfg.World.Tenants) {
		t := Tenant{Name: "t" + strconv.Itoa(i)}
		t.Issuer, t.Resource = d.Base+"/"+t.Name, "http://"+t.Name+hostSuffix+":"+port
		if err := d.apply(ctx, fmt.Sprintf(tenantDocuments, t.Name, t.Resource, d.Origin, UpstreamKey)); err != nil {
			return err
		}
		var made struct {
			Secret string `json:"secret"`
		}
		if err := d.Admin.Call(ctx, http.MethodPost, "/tenants/"+t.Name+"/connectors/"+connector+"/secrets", map[string]any{}, &made); err != nil {
			return err //nolint:wrapcheck // a Refusal says it all
		}
		t.Service = adminclient.Service{Issuer: t.Issuer, ID: "connector:" + t.Name + "/" + connector, Secret: agentid.NewSecret(made.Secret), HTTP: d.Admin.HTTP}
		d.Tenants = append(d.Tenants, t)
		d.step("tenants", i+1, d.cfg.World.Tenants)
	}
	return nil
}

func (d *Deployment) apply(ctx context.Context, text string) error {
	docs, err := yamlfile.Split("world.yaml", []byte(text))
	if err != nil {
		return err //nolint:wrapcheck // every problem with its line
	}
	var set []admin.Document
	for _, doc := range docs {
		raw, err := doc.JSON()
		if err != nil {
			return err //nolint:wrapcheck // every problem with its line
		}
		set = append(set, admin.Document{Source: doc.File, Line: doc.Line(), Object: raw})
	}
	return d.Admin.Call(ctx, http.MethodPost, "/apply", map[string]any{"documents": set}, nil) //nolint:wrapcheck // a Refusal says it all
}

// register makes every lineage: all agents of one depth together, roots first.
func (d *Deployment) register(ctx context.Context) error {
	w := d.cfg.World
	count, done := max(1, w.Agents), 0
	expires := time.Now().Add(lifetime - time.Hour)
	for t := range d.Tenants {
		tenant := &d.Tenants[t]
		tenant.Agents = make([]Agent, count)
		for level := range max(1, w.Depth) {
			group, gctx := errgroup.WithContext(ctx)
			group.SetLimit(registerers)
			for i := range count {
				group.Go(func() (err error) {
					tenant.Agents[i], err = d.agent(gctx, *tenant, i, level, expires)
					return err
				})
			}
			if err := group.Wait(); err != nil {
				return err //nolint:wrapcheck // says what failed
			}
			done += count
			d.step("agents", done, count*max(1, w.Depth)*len(d.Tenants))
		}
	}
	return nil
}

func agentName(i, level int) string { return fmt.Sprintf("a%d-%d", i, level) }

// ShortLived registers one more agent, which may do what agent 0 may, until it expires.
func (d *Deployment) ShortLived(ctx context.Context, t Tenant, name int, expires time.Time) (Agent, error) {
	a, err := d.agent(ctx, t, name, 0, expires)
	a.Customer, a.Charge = "cus_0", "ch_0"
	return a, err
}

// Lineage registers a lineage of depth agents, roots first, and gives its leaf, which may
// do what agent number may.
func (d *Deployment) Lineage(ctx context.Context, t Tenant, number, depth int, expires time.Time) (Agent, error) {
	const apart = 10_000_000 // their names, from those of the world
	var leaf Agent
	for level := range depth {
		var err error
		if leaf, err = d.agent(ctx, t, apart+number, level, expires); err != nil {
			return Agent{}, err
		}
	}
	leaf.Customer, leaf.Charge = "cus_"+strconv.Itoa(number), "ch_"+strconv.Itoa(number)
	return leaf, nil
}

func (d *Deployment) agent(ctx context.Context, t Tenant, i, level int, expires time.Time) (Agent, error) {
	key, signing, err := newKey()
	if err != nil {
		return Agent{}, err
	}
	body := map[string]any{"type": agentType, "key": key.Public(), "expires": expires.UTC().Truncate(time.Second)}
	if level == 0 {
		body["principal"] = principal
	} else {
		body["parent"] = agentName(i, level-1)
	}
	name := agentName(i, level)
	if err := d.Admin.Call(ctx, http.MethodPut, "/tenants/"+t.Name+"/agents/"+name, body, nil); err != nil {
		return Agent{}, err //nolint:wrapcheck // a Refusal says it all
	}
	ref, err := agentid.AgentRef(t.Name, name)
	if err != nil {
		return Agent{}, err //nolint:wrapcheck // names the field
	}
	c, err := client.New(client.Config{Issuer: t.Issuer, Agent: ref, Key: key, HTTP: d.Admin.HTTP})
	return Agent{Client: c, Customer: "cus_" + strconv.Itoa(i), Charge: "ch_" + strconv.Itoa(i), Signing: signing}, err //nolint:wrapcheck // names the field
}

// newKey is a key as the client takes it, and as a signer does.
func newKey() (client.Key, jose.SigningKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return client.Key{}, jose.SigningKey{}, fmt.Errorf("generate key: %w", err)
	}
	text, err := json.Marshal(jose.JSONWebKey{Key: private, Algorithm: string(jose.EdDSA), Use: "sig"})
	if err != nil {
		return client.Key{}, jose.SigningKey{}, fmt.Errorf("encode key: %w", err)
	}
	key, err := client.ParseKey(agentid.NewSecret(string(text)))
	return key, jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, err //nolint:wrapcheck // names the field
}

// The templates of every tenant.
const (
	TemplateRead    = "read"
	TemplatePreview = "preview"
	TemplateRefund  = "refund"
)

// maxPreview is what the templates let an agent preview, in cents: more amounts than a run
// has requests.
const maxPreview = 1_000_000_000

// PreviewForm asks what a customer would be billed for one more item, of another amount
// for each n.
func PreviewForm(customer string, n int64) string {
	return "customer=" + customer + "&invoice_items[0][currency]=usd&invoice_items[0][amount]=" + strconv.FormatInt(1+n%maxPreview, 10)
}

// Request asks for what an agent may do with its own customer, by templates.
func (a Agent) Request(t Tenant, bearer bool, templates ...string) client.TokenRequest {
	calls := make([]map[string]any, len(templates))
	for i, name := range templates {
		calls[i] = map[string]any{"type": "agentid_template", "template": name, "arguments": map[string]any{"customer": a.Customer}}
	}
	details, err := json.Marshal(calls)
	if err != nil {
		return client.TokenRequest{} // strings only
	}
	return client.TokenRequest{Details: details, Resource: t.Resource, Bearer: bearer}
}

// step tells how far bringing up is, where it takes long.
func (d *Deployment) step(what string, done, of int) {
	const quiet = 50
	if of >= quiet {
		d.cfg.Progress(fmt.Sprintf("%s: %d of %d", what, done, of))
	}
}
