package openloop

import (
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// The histograms hold microseconds, from one to a minute, to three digits.
const (
	lowest  = 1
	highest = int64(time.Minute / time.Microsecond)
	digits  = 3
	shards  = 8
)

func newHistogram() *hdr.Histogram { return hdr.New(lowest, highest, digits) }

// put records a duration; what is out of range counts as its end.
func put(h *hdr.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), lowest), highest)) // within range by now
}

// recorder takes measurements without one lock that all share.
type recorder struct {
	shards   [shards]shard
	lateness *hdr.Histogram // of the schedule itself; one writer
	done     atomic.Int64
	failed   atomic.Int64
}

type shard struct {
	mu  sync.Mutex
	ops map[string]*measured
}

// measured is one operation's figures.
type measured struct {
	latency *hdr.Histogram // from the intended send time
	service *hdr.Histogram // from the actual one
	classes map[string]int64
	failed  int64
}

func newMeasured() *measured {
	return &measured{latency: newHistogram(), service: newHistogram(), classes: map[string]int64{}}
}

func newRecorder() *recorder {
	r := &recorder{lateness: newHistogram()}
	for i := range r.shards {
		r.shards[i].ops = map[string]*measured{}
	}
	return r
}

func (r *recorder) late(d time.Duration) { put(r.lateness, d) }

func (r *recorder) record(sender int, o Outcome, latency, service time.Duration) {
	r.done.Add(1)
	if o.Class == "" {
		o.Class = "failed"
	}
	s := &r.shards[sender%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.ops[o.Op]
	if m == nil {
		m = newMeasured()
		s.ops[o.Op] = m
	}
	put(m.latency, latency)
	put(m.service, service)
	m.classes[o.Class]++
	if !o.OK {
		m.failed++
		r.failed.Add(1)
	}
}

func (r *recorder) counts() (done, failed int64) { return r.done.Load(), r.failed.Load() }

// result merges the shards. No sender may be at work any more.
func (r *recorder) result(took time.Duration, sent, dropped int64) *Result {
	total := map[string]*measured{}
	all := newMeasured()
	for i := range r.shards {
		for op, m := range r.shards[i].ops {
			t := total[op]
			if t == nil {
				t = newMeasured()
				total[op] = t
			}
			t.add(m)
			all.add(m)
		}
	}
	out := &Result{
		Seconds: took.Seconds(), Sent: sent, Dropped: dropped, Lateness: summarise(r.lateness),
		All: all.summary(), Ops: make(map[string]Op, len(total)),
	}
	for op, m := range total {
		out.Ops[op] = m.summary()
	}
	return out
}

func (m *measured) add(o *measured) {
	m.latency.Merge(o.latency)
	m.service.Merge(o.service)
	m.failed += o.failed
	for class, n := range o.classes {
		m.classes[class] += n
	}
}

func (m *measured) summary() Op {
	return Op{Count: m.latency.TotalCount(), Failed: m.failed, Classes: m.classes, Latency: summarise(m.latency), Service: summarise(m.service)}
}
