package compare

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid/loadtest/proc"
)

// stack is one way to put something between an agent and the upstream.
type stack struct {
	name, about string
	addr        string // where requests go
	group       []*proc.Process
	subject     subject
	enforces    map[string]bool   // the probes that it claims
	profiles    map[string]string // process to host:port of its /debug/pprof/; nil: not served
}

// subject makes the requests of a stack's own agents, in the tokens that it takes.
type subject interface {
	// good is an allowed read of customer 0 with a good token.
	good(ctx context.Context) ([]byte, error)
	// forbidden reads another agent's customer.
	forbidden(ctx context.Context) ([]byte, error)
	// expired was good and is so no more when it is given.
	expired(ctx context.Context) ([]byte, error)
	// misdirected carries a token for another audience.
	misdirected(ctx context.Context) ([]byte, error)
	// revoked carries a token whose revocation has returned.
	revoked(ctx context.Context) ([]byte, error)
	// stolen carries a token that is bound to a key, without a proof of it.
	stolen(ctx context.Context) ([]byte, error)
}

// The probes, in the order of the report.
const (
	probeAllow    = "allowed request passes"
	probeRefuse   = "another's resource is refused"
	probeExpired  = "expired token is refused"
	probeAudience = "token for another audience is refused"
	probeRevoked  = "revoked token is refused at once"
	probeStolen   = "bound token without its key is refused"
)

// all is every probe claimed.
func claims(names ...string) map[string]bool {
	out := map[string]bool{probeAllow: true}
	for _, n := range names {
		out[n] = true
	}
	return out
}

// qualify asks a stack everything and holds the answers against what it claims.
func (s *stack) qualify(ctx context.Context) ([]Probe, error) {
	var out []Probe
	for _, p := range []struct {
		name    string
		request func(context.Context) ([]byte, error)
		allowed bool
	}{
		{probeAllow, s.subject.good, true},
		{probeRefuse, s.subject.forbidden, false},
		{probeExpired, s.subject.expired, false},
		{probeAudience, s.subject.misdirected, false},
		{probeRevoked, s.subject.revoked, false},
		{probeStolen, s.subject.stolen, false},
	} {
		request, err := p.request(ctx)
		if err != nil {
			return nil, err
		}
		status, _, err := ask(ctx, s.addr, request)
		if err != nil {
			return nil, err
		}
		out = append(out, Probe{p.name, verdict(status, p.allowed, s.enforces[p.name]), status})
	}
	return out, nil
}

// verdict holds a status against what was expected. What a stack does not claim and does
// not do is not enforced; what it claims and does not do is broken. A refusal is 401 or
// 403: any other error is an accident and not an answer.
func verdict(status int, allowed, claimed bool) string {
	refused := status == 401 || status == 403
	switch {
	case allowed && status == 200, !allowed && refused:
		return Held
	case !allowed && !claimed && status == 200:
		return NotEnforced
	default:
		return Broken
	}
}

func (s *stack) used() (time.Duration, error) {
	if len(s.group) == 0 {
		return 0, nil
	}
	u, err := proc.Sum(s.group...)
	return u.CPU, err //nolint:wrapcheck // says what failed
}
