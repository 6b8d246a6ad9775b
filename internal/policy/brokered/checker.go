package brokered

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/condition"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// DefaultTimeout bounds one call where the caller's context does not.
const DefaultTimeout = 2 * time.Second

// Config makes a Checker. Conn is required.
type Config struct {
	Conn    grpc.ClientConnInterface // to the broker's port for gateways
	Timeout time.Duration            // of one call; DefaultTimeout by default
	Now     func() time.Time         // default: time.Now
}

// Checker is a policy.ResidualChecker over a broker's graph. It is safe for concurrent use.
type Checker struct {
	cfg    Config
	reader condition.Reader
}

var _ policy.ResidualChecker = (*Checker)(nil)

// New makes a Checker. It asks nothing yet.
func New(cfg Config) (*Checker, error) {
	if cfg.Conn == nil {
		return nil, errors.New("brokered: Conn is required")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Checker{cfg: cfg}, nil
}

// CheckBulk implements policy.Checker.
func (c *Checker) CheckBulk(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	sent := c.cfg.Now()
	var out checked
	if err := c.call(ctx, MethodCheck, atLeast, checks, &out); err != nil {
		return "", nil, err
	}
	if out.Problem != nil {
		return "", nil, out.Problem.Err() //nolint:wrapcheck // the checker's own
	}
	if out.At == "" || len(out.Answers) != len(checks) {
		return "", nil, errors.New("brokered: an answer without a revision, or to other checks")
	}
	inputs := inputsIn(checks)
	answers := make([]policy.Answer, len(out.Answers))
	for i, a := range out.Answers {
		answers[i] = policy.Answer{
			Check: a.Check.check(inputs), Verdict: verdicts[a.Verdict], Missing: a.Missing, Expires: a.Holds.expires(sent), Fixed: a.Fixed,
		}
	}
	return out.At, answers, nil
}

// Residuals implements policy.ResidualChecker.
func (c *Checker) Residuals(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Residual, error) {
	sent := c.cfg.Now()
	var out parted
	if err := c.call(ctx, MethodSplit, atLeast, checks, &out); err != nil {
		return "", nil, err
	}
	if out.Problem != nil {
		return "", nil, out.Problem.Err() //nolint:wrapcheck // the checker's own
	}
	if out.At == "" || len(out.Parts) != len(checks) {
		return "", nil, errors.New("brokered: an answer without a revision, or to other checks")
	}
	inputs := inputsIn(checks)
	residuals := make([]policy.Residual, len(checks))
	for i, p := range out.Parts {
		switch {
		case p.Check.check(inputs) != checks[i]:
			return "", nil, errors.New("brokered: a part of a check that was not asked")
		case p.Whole:
			continue
		}
		r := &condition.Residual{Yes: p.Yes}
		if p.Holds != forever {
			r.Ends = max(p.Holds, 1).expires(sent) // a part's end is always known
		}
		for _, w := range p.Conditions {
			one, err := c.reader.Read(w)
			if err != nil {
				return "", nil, err //nolint:wrapcheck // says what failed
			}
			r.Conditions = append(r.Conditions, one)
		}
		residuals[i] = r
	}
	return out.At, residuals, nil
}

// call asks once: an error denies, and the decider may ask anew.
func (c *Checker) call(ctx context.Context, method string, atLeast agentid.Zookie, checks []policy.Check, out any) error {
	inputs, err := rawInputs(checks)
	if err != nil {
		return err
	}
	if len(checks) > maxChecks {
		return fmt.Errorf("brokered: %d checks in one call; want at most %d", len(checks), maxChecks)
	}
	in := ask{AtLeast: atLeast, Inputs: inputs, Checks: make([]item, len(checks))}
	for i, one := range checks {
		in.Checks[i] = itemOf(one)
	}
	request, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("brokered: write a question: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var response []byte
	if err := c.cfg.Conn.Invoke(ctx, method, &request, &response, grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(maxMessage)); err != nil {
		return fmt.Errorf("ask the broker's graph: %w", err)
	}
	return api.Decode(response, maxMessage, out) //nolint:wrapcheck // says what is wrong
}

// check is the policy.Check that an item echoes.
func (i item) check(inputs *policy.Inputs) policy.Check {
	out := policy.Check{Resource: i.Resource, Permission: i.Permission, Subject: i.Subject}
	if i.Inputs {
		out.Inputs = inputs
	}
	return out
}

// inputsIn are the inputs that the checks of one call share.
func inputsIn(checks []policy.Check) *policy.Inputs {
	for _, c := range checks {
		if c.Inputs != nil {
			return c.Inputs
		}
	}
	return nil
}

// raw passes bytes on as they are.
type raw struct{}

var errNotBytes = errors.New("brokered: not bytes")

// Marshal implements encoding.Codec.
func (raw) Marshal(v any) ([]byte, error) {
	if b, ok := v.(*[]byte); ok {
		return *b, nil
	}
	return nil, errNotBytes
}

// Unmarshal implements encoding.Codec.
func (raw) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return errNotBytes
	}
	*b = append([]byte(nil), data...)
	return nil
}

// Name implements encoding.Codec: what the port for gateways takes.
func (raw) Name() string { return "proto" }
