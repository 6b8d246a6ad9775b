package internalapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// The notes of a record that name the connector and, stamped here, the gateway.
const (
	noteConnector = "connector"
	noteGateway   = "gateway"
)

// settings is GET /internal/v1/settings: the connectors that this gateway may serve,
// each credential sealed to the certificate that asks.
func (a *API) settings(w http.ResponseWriter, r *http.Request, p peer) error {
	all, err := a.cfg.Fleet.Connectors(r.Context())
	if err != nil {
		return err
	}
	out := api.Settings{Issuer: a.cfg.Issuer, Keys: a.cfg.Keys(), Connectors: []api.Connector{}}
	for _, c := range all {
		if !p.Serves(c.Ref) {
			continue
		}
		sealed, err := api.Seal(c, p.cert)
		if err != nil {
			return err
		}
		out.Connectors = append(out.Connectors, sealed)
	}
	answer(w, out)
	return nil
}

// await is POST /internal/v1/effects/await. It answers within api.AwaitFor.
func (a *API) await(w http.ResponseWriter, r *http.Request, _ peer) error {
	var in api.Await
	if err := read(w, r, &in); err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // else the wait would end with the server's ReadTimeout
	ctx, cancel := context.WithTimeout(r.Context(), api.AwaitFor)
	defer cancel()
	ahead, err := a.cfg.Effects.Await(ctx, in.ID)
	switch {
	case err == nil:
		answer(w, api.Awaited{Ahead: ahead})
		return nil
	case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
		answer(w, api.Awaited{Again: true})
		return nil
	default:
		return err
	}
}

// audit is POST /internal/v1/audit.
func (a *API) audit(w http.ResponseWriter, r *http.Request, p peer) error {
	var in api.Batch
	if err := read(w, r, &in); err != nil {
		return err
	}
	if n := len(in.Records); n == 0 || n > api.MaxBatch {
		return agentid.Invalidf("records", "want 1 to %d", api.MaxBatch)
	}
	for i := range in.Records {
		// A stream has a begin and a finish of its own; their request is known to its
		// gateway alone.
		if err := p.checkRecord(&in.Records[i], auditlog.Single, auditlog.Begin, auditlog.Finish); err != nil {
			return err
		}
	}
	// What was handed over is written, whether or not the gateway waits for the answer.
	if err := a.cfg.Log.Append(context.WithoutCancel(r.Context()), in.Durable, in.Records...); err != nil {
		return err
	}
	answer(w, struct{}{})
	return nil
}

// checkRecord refuses what a gateway has no business to record, and stamps the rest with
// the gateway's name.
func (p peer) checkRecord(r *auditlog.Record, phases ...auditlog.Phase) error {
	if r.Kind != auditlog.Operation && r.Kind != auditlog.Authn {
		return agentid.Invalidf("record.kind", "want operation or authn")
	}
	if !slices.Contains(phases, r.Phase) {
		return agentid.Invalidf("record.phase", "want one of %v", phases)
	}
	if name := r.Notes[noteConnector]; name != "" {
		connector, err := agentid.ParseRefAs(agentid.TypeConnector, name)
		if err != nil || connector.Tenant() != r.Tenant || !p.Serves(connector) {
			return notServed()
		}
	}
	if r.Tenant != "" && !p.ServesTenant(r.Tenant) {
		return notServed()
	}
	r.ID = "" // the log's to give
	r.Notes = maps.Clone(r.Notes)
	if r.Notes == nil {
		r.Notes = map[string]string{}
	}
	r.Notes[noteGateway] = p.Name
	return nil
}

func notServed() error {
	return agentid.Errorf(agentid.KindForbidden, "connector_not_served",
		"the gateway's certificate does not cover this connector; make one that does with agentid fleet certificate --connectors")
}
