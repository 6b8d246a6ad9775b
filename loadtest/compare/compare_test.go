package compare

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTurnsGoThereAndBack(t *testing.T) {
	require.Equal(t, []int{0, 1, 2, 2, 1, 0}, thereAndBack(3))
}

func TestRatiosAreTakenWithinEachRound(t *testing.T) {
	perSecond := func(r Round) float64 { return float64(r.Requests) / r.Seconds }
	// The machine becomes ten times slower; the stack is half as fast as the baseline all along.
	base := []Round{{Requests: 1000, Seconds: 1}, {Requests: 100, Seconds: 1}, {Requests: 100, Seconds: 1}}
	over := []Round{{Requests: 500, Seconds: 1}, {Requests: 50, Seconds: 1}, {Requests: 60, Seconds: 1}}
	require.Equal(t, Spread{Median: 0.5, Min: 0.5, Max: 0.6}, ratios(over, base, perSecond))
	require.Equal(t, Spread{Median: 2.5, Min: 1, Max: 4}, median([]float64{4, 1, 2, 3}))
	require.Equal(t, Spread{}, median(nil))
}

func TestVerdicts(t *testing.T) {
	require.Equal(t, Held, verdict(200, true, true))
	require.Equal(t, Broken, verdict(403, true, true))
	require.Equal(t, Held, verdict(403, false, true))
	require.Equal(t, Held, verdict(401, false, true))
	require.Equal(t, Broken, verdict(200, false, true), "claimed and not held")
	require.Equal(t, NotEnforced, verdict(200, false, false))
	require.Equal(t, Broken, verdict(500, false, true), "an accident is no refusal")
	require.Equal(t, Broken, verdict(502, false, false))
}

func TestASaturatedClientFailsTheRunAndAMissedAimDoesNot(t *testing.T) {
	low := Spread{Median: 0.1}
	require.Empty(t, judge([]Cell{{Stack: StackOurs, Throughput: &low, Aim: 0.8, ClientShare: 0.2}}))
	require.Len(t, judge([]Cell{{Stack: StackNginx, ClientShare: 0.7}}), 1)
	require.Len(t, judge([]Cell{{Stack: StackOPA, Rounds: []Round{{Failed: 1}, {Failed: 2}}}}), 1, "a wrong answer fails it too")
}

func TestTheClientCountsWhatCameBack(t *testing.T) {
	var seen atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "bad") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	good, bad := message(http.MethodPost, "/", addr, "good"), message(http.MethodPost, "/", addr, "bad", "X-A: b")
	s, err := wire{addr, 4, 200}.fire(t.Context(), time.Minute, [][]byte{good, good, bad}, true)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.requests)
	require.EqualValues(t, 1, s.failed)
	require.ErrorIs(t, s.first, errStatus)
	require.EqualValues(t, 3, seen.Load(), "each was sent once")
	s, err = wire{addr, 2, 200}.fire(t.Context(), 50*time.Millisecond, [][]byte{good}, false)
	require.NoError(t, err)
	require.Positive(t, s.requests)
	require.EqualValues(t, s.requests, s.latency.TotalCount())
	srv.Close()
	_, err = wire{addr, 1, 200}.fire(t.Context(), time.Second, [][]byte{good}, false)
	require.Error(t, err)
}

func TestConfigsThatAreRefused(t *testing.T) {
	_, err := bringUp(t.Context(), Config{Without: []string{"AgentID"}}, nil, nil)
	require.ErrorContains(t, err, `without "AgentID"`)
	_, err = bringUp(t.Context(), Config{Workloads: []string{"writes"}}, nil, nil)
	require.ErrorContains(t, err, `workload "writes"`)
}

func TestPeersAreHeldAgainstUsRoundByRound(t *testing.T) {
	cell := func(stack string, cpu ...float64) Cell {
		c := Cell{Workload: LoadReads, Stack: stack}
		for _, s := range cpu {
			c.Rounds = append(c.Rounds, Round{Requests: 100, Stack: s})
		}
		return c
	}
	got := versus([]Cell{cell(StackBare, 1, 1), cell(StackOurs, 1, 10), cell(StackOPA, 5, 50), cell(StackSpiceDB, 0.5, 5)})
	require.Equal(t, []Versus{
		{LoadReads, StackOurs, StackOPA, Spread{5, 5, 5}, aimOPA}, {LoadReads, StackOurs, StackSpiceDB, Spread{0.5, 0.5, 0.5}, 0},
	}, got)
}
