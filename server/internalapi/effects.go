package internalapi

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// effects is POST /internal/v1/effects: the reservations and settlements of a moment, done
// side by side, so that they share one commit. Each succeeds or fails by itself.
func (a *API) effects(w http.ResponseWriter, r *http.Request, p peer) error {
	var in api.Effects
	if err := read(w, r, &in); err != nil {
		return err
	}
	if n := len(in.Calls); n == 0 || n > api.MaxCalls {
		return agentid.Invalidf("calls", "want 1 to %d", api.MaxCalls)
	}
	for i, call := range in.Calls {
		if (call.Reserve == nil) == (call.Settle == nil) {
			return agentid.Invalidf("calls", "number %d wants a reservation or a settlement", i+1)
		}
	}
	out := api.Effected{Results: make([]api.EffectResult, len(in.Calls))}
	var work sync.WaitGroup
	for i := range in.Calls[1:] {
		work.Go(func() { out.Results[i+1] = a.effect(r, p, in.Calls[i+1]) })
	}
	out.Results[0] = a.effect(r, p, in.Calls[0])
	work.Wait()
	if r.Context().Err() != nil {
		// The gateway gave up before the answer was begun: it will not forward.
		for i, call := range in.Calls {
			if got := out.Results[i].Reservation; got != nil {
				a.giveBack(r.Context(), p, *call.Reserve, *got)
			}
		}
		return agentid.Errorf(agentid.KindInvalid, "request_cancelled", "the gateway gave the call up")
	}
	answer(w, out)
	return nil
}

// effect does one call. A panic is this call's failure and no other's.
func (a *API) effect(r *http.Request, p peer, call api.Effect) (out api.EffectResult) {
	defer func() {
		if v := recover(); v != nil {
			a.cfg.Logger.ErrorContext(r.Context(), "an effect panicked", observe.KeyGateway, p.Name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			out = api.EffectResult{Problem: &api.Problem{Kind: agentid.KindInternal.String(), Reason: "internal"}}
		}
	}()
	var err error
	if call.Reserve != nil {
		out.Reservation, err = a.reserve(r.Context(), p, call.Reserve)
	} else {
		err = a.settle(r.Context(), p, call.Settle)
	}
	if err != nil {
		httperr.Log(a.cfg.Logger, r, err)
		problem := api.ProblemOf(err)
		return api.EffectResult{Problem: &problem}
	}
	return out
}

func (a *API) reserve(ctx context.Context, p peer, in *wire.Reserve) (*wire.Reservation, error) {
	if err := p.checkReserve(in); err != nil {
		return nil, err
	}
	reservation, err := a.cfg.Effects.Reserve(ctx, *in)
	if err != nil {
		return nil, err //nolint:wrapcheck // an agentid.Error
	}
	return &reservation, nil
}

// giveBack releases a reservation that nobody waits for any more.
func (a *API) giveBack(ctx context.Context, p peer, in wire.Reserve, res wire.Reservation) {
	finish := in.Record
	finish.Phase, finish.Time, finish.Decision, finish.Reason = auditlog.Finish, a.cfg.Now(), auditlog.Deny, "request_cancelled"
	outcome := wire.Released
	if res.Retry {
		outcome = wire.Unknown // what it repeats may have been done
	}
	if err := a.cfg.Effects.Settle(context.WithoutCancel(ctx), wire.Settlement{ID: res.ID, Outcome: outcome, Record: finish}); err != nil {
		a.cfg.Logger.ErrorContext(ctx, "a reservation could not be given back", observe.KeyGateway, p.Name, observe.KeyRequestID, in.Record.Request, observe.KeyError, err.Error())
	}
}

// settle ends one reservation. The ledger holds the record against the reservation's own
// request, which only the gateway that reserved knows.
func (a *API) settle(ctx context.Context, p peer, in *wire.Settlement) error {
	if in.ID == "" || in.Record.Request == "" {
		return agentid.Invalidf("id", "want a reservation and its request")
	}
	if err := p.checkRecord(&in.Record, auditlog.Finish); err != nil {
		return err
	}
	return a.cfg.Effects.Settle(ctx, *in) //nolint:wrapcheck // an agentid.Error
}

// checkReserve holds an effect against what the gateway may serve.
func (p peer) checkReserve(r *wire.Reserve) error {
	if err := p.checkRecord(&r.Record, auditlog.Begin); err != nil {
		return err
	}
	connector, err := agentid.ParseRefAs(agentid.TypeConnector, r.Record.Notes[noteConnector])
	if err != nil || connector.Tenant() != r.Agent.Tenant() {
		return agentid.Invalidf("record.notes.connector", "want the connector that the effect goes through")
	}
	if r.HoldKey != "" && !strings.HasPrefix(r.HoldKey, connector.ObjectID()+"/") {
		return agentid.Invalidf("hold_key", "want a key of the effect's connector")
	}
	return nil
}
