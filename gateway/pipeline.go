package gateway

import (
	"cmp"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/challenge"
	"github.com/agentid-dev/agentid/gateway/match"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// exchange is one request on its way through the phases: what a refusal needs to be
// rendered and recorded.
type exchange struct {
	w http.ResponseWriter
	r *http.Request

	route         *route
	record        auditlog.Record // grows with each phase
	authenticated bool
	audited       bool // the record is written: a refusal adds none
	scopes        []string
	started       time.Time
}

// serve answers one request, or refuses it.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: w, r: r, started: g.cfg.Now(), record: auditlog.Record{
		Kind: auditlog.Operation, Phase: auditlog.Single, Request: httpx.RequestID(r.Context()),
	}}
	if err := g.run(x); err != nil {
		g.refuse(x, err)
		return
	}
	g.metrics.done(x.record.Operation, "allowed")
}

// run is the pipeline of DESIGN section 8. Every phase takes what the phase before it
// made and returns an error to refuse; then nothing has been written to the client.
func (g *Gateway) run(x *exchange) error {
	violation := g.guard.Violation(x.r)
	rt, err := g.table.route(x.r.Context(), g.cfg.Fleet, x.r.Host)
	if err != nil {
		return cmp.Or(violation, err)
	}
	x.route = rt
	x.record.Tenant = rt.Ref.Tenant()
	x.record.Notes = map[string]string{"connector": rt.name}
	if violation != nil {
		return violation
	}
	if x.r.URL.Path == challenge.MetadataPath && x.r.Method == http.MethodGet {
		return g.metadata(x)
	}

	normal, err := match.Normalise(x.r, rt.host) // 1. Normalise
	if err != nil {
		return err
	}
	matched, unmatched := match.Match(rt.kind, normal, x.r) // 2. Match
	if o := matched.Operation(); unmatched == nil {
		x.record.Operation, x.scopes = o.Name, []string{o.Name}
	}
	caller, err := g.authenticate(x, normal) // 3. Authenticate
	if err != nil {
		return err
	}
	admitted, err := g.rate(x, caller) // 4. Rate
	if err != nil {
		return err
	}
	// Who asks for what does not exist is told so, and named in the log, only now.
	if unmatched != nil {
		return unmatched
	}
	effective, err := g.inputs(x, admitted, matched) // 5. Inputs
	if err != nil {
		return err
	}
	decided, err := g.decide(x, effective) // 6. Decide
	if err != nil {
		return err
	}
	if matched.Operation().Effect == connectors.Read {
		return g.read(x, decided) // 8 to 10
	}
	reserved, err := g.reserve(x, decided) // 7. Reserve
	if err != nil {
		return err
	}
	return g.effect(x, reserved) // 8 to 10
}

func (g *Gateway) metadata(x *exchange) error {
	tenant := x.route.Ref.Tenant()
	return challenge.WriteMetadata(x.w, x.route.Connector, x.route.kind, []string{g.cfg.Issuer + "/" + tenant})
}
