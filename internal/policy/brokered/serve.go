package brokered

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/condition"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// Serve answers one call from the graph of this process. What is refused, or fails, is told
// in the answer; an error of Serve means that there is none.
func Serve(ctx context.Context, graph policy.ResidualChecker, method string, request []byte) ([]byte, error) {
	switch method {
	case MethodCheck:
		return written(check(ctx, graph, request))
	case MethodSplit:
		return written(split(ctx, graph, request))
	default:
		return nil, errors.New("brokered: there is no such method")
	}
}

func written(answer any) ([]byte, error) {
	data, err := json.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("brokered: write an answer: %w", err)
	}
	return data, nil
}

// asked reads a request.
func asked(request []byte) (agentid.Zookie, []policy.Check, error) {
	var in ask
	if err := api.Decode(request, maxMessage, &in); err != nil {
		return "", nil, err //nolint:wrapcheck // names the field
	}
	if len(in.Checks) > maxChecks {
		return "", nil, agentid.Invalidf("checks", "want at most %d", maxChecks)
	}
	inputs, err := inputsOf(in.Inputs)
	if err != nil {
		return "", nil, err
	}
	checks := make([]policy.Check, len(in.Checks))
	for i, c := range in.Checks {
		if c.Resource.IsZero() || c.Subject.IsZero() || !isPermission(c.Permission) || c.Inputs && inputs == nil {
			return "", nil, agentid.Invalidf("checks", "number %d is not a check", i+1)
		}
		checks[i] = policy.Check{Resource: c.Resource, Permission: c.Permission, Subject: c.Subject}
		if c.Inputs {
			checks[i].Inputs = inputs
		}
	}
	return in.AtLeast, checks, nil
}

func check(ctx context.Context, graph policy.ResidualChecker, request []byte) checked {
	atLeast, checks, err := asked(request)
	if err != nil {
		return checked{Problem: problem(err)}
	}
	at, answers, err := graph.CheckBulk(ctx, atLeast, checks)
	if err != nil {
		return checked{Problem: problem(err)}
	}
	now := time.Now()
	out := checked{At: at, Answers: make([]answer, len(answers))}
	for i, a := range answers {
		if a.Err != nil {
			return checked{Problem: problem(a.Err)}
		}
		out.Answers[i] = answer{Check: itemOf(a.Check), Verdict: nameOf(a.Verdict), Missing: a.Missing, Holds: holdsUntil(a.Expires, now), Fixed: a.Fixed}
	}
	return out
}

func split(ctx context.Context, graph policy.ResidualChecker, request []byte) parted {
	atLeast, checks, err := asked(request)
	if err != nil {
		return parted{Problem: problem(err)}
	}
	at, residuals, err := graph.Residuals(ctx, atLeast, checks)
	if err != nil {
		return parted{Problem: problem(err)}
	}
	now := time.Now()
	out := parted{At: at, Parts: make([]part, len(residuals))}
	for i, r := range residuals {
		if out.Parts[i], err = partOf(checks[i], r, now); err != nil {
			return parted{Problem: problem(err)}
		}
	}
	return out
}

// partOf writes a residual down. One of another make than the embedded graph's is asked in
// full.
func partOf(c policy.Check, r policy.Residual, now time.Time) (part, error) {
	out := part{Check: itemOf(c)}
	known, ok := r.(*condition.Residual)
	if !ok {
		out.Whole = true
		return out, nil
	}
	out.Yes, out.Holds = known.Yes, forever
	if !known.Ends.IsZero() {
		out.Holds = holdsUntil(known.Ends, now)
	}
	for _, one := range known.Conditions {
		w, err := one.Write()
		if err != nil {
			return part{}, err //nolint:wrapcheck // says what failed
		}
		out.Conditions = append(out.Conditions, w)
	}
	return out, nil
}

// problem tells a checker's own refusals as they are, and of an outage no more than that.
func problem(err error) *api.Problem {
	e := agentid.AsError(err)
	if e.Kind != agentid.KindInvalid && e.Kind != agentid.KindForbidden {
		e = agentid.AsError(agentid.Unavailable(policy.ReasonGraphUnavailable, err))
	}
	p := api.ProblemOf(e)
	return &p
}
