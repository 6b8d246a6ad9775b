package sampler_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/gateway/sampler"
	"github.com/agentid-dev/agentid/internal/policy"
)

// slow is a graph that takes its time.
type slow struct {
	takes time.Duration
	asked int
}

func (s *slow) Recheck(context.Context, policy.Question, policy.Allowed) (bool, error) {
	s.asked++
	<-time.After(s.takes)
	return true, nil
}

// TestDearQuestionsAreAskedLessOften: a question that takes the graph 50 ms is asked once a
// second, one that takes a millisecond as often as the rate allows.
func TestDearQuestionsAreAskedLessOften(t *testing.T) {
	for takes, want := range map[time.Duration][2]int{time.Millisecond: {45, 56}, 50 * time.Millisecond: {8, 11}} {
		synctest.Test(t, func(t *testing.T) {
			s, err := sampler.New(sampler.Config{})
			require.NoError(t, err)
			graph := &slow{takes: takes}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); s.Run(ctx, graph) }()
			for range 1000 { // for ten seconds
				s.Offer(policy.Question{}, policy.Allowed{})
				<-time.After(10 * time.Millisecond)
			}
			cancel()
			<-done
			require.GreaterOrEqual(t, graph.asked, want[0], takes)
			require.LessOrEqual(t, graph.asked, want[1], takes)
		})
	}
}
