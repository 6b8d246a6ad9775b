package policy

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
)

// Residual is a check whose graph part has been answered: what is left are the conditions
// that stand on the relationships found. It holds for the revision that it was read at,
// is never changed, and is safe for concurrent use.
type Residual interface {
	// Evaluate answers the check for one caveat context, with exactly what CheckBulk
	// answers for it at the same revision: a verdict, and the fields that a conditional
	// one waits for. An error denies, and is that of CheckBulk: KindInvalid for an input
	// that a caveat cannot take.
	Evaluate(in *Inputs) (Verdict, []string, error)
	// Expires is when the first relationship that it rests on expires; zero: never.
	Expires() time.Time
}

// ResidualChecker is a Checker that can answer the graph part of a check by itself.
type ResidualChecker interface {
	Checker
	// Residuals asks for each check without its Inputs, all at one revision, which it
	// returns. An entry is nil where the check cannot be split: it is to be asked in full.
	// Errors are those of CheckBulk.
	Residuals(ctx context.Context, atLeast agentid.Zookie, checks []Check) (agentid.Zookie, []Residual, error)
}
