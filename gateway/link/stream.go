package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// The waits between attempts to subscribe.
const (
	leastPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
	silence    = 3 * api.Beat // of the stream, after which it is taken for broken
)

// Run keeps the subscription until ctx ends: a stream that breaks, lags or misses an
// event costs what was remembered, and a State is read again. Then it leaves, so that no
// revocation waits for this gateway's lease.
func (l *Link) Run(ctx context.Context) {
	pause := leastPause
	for ctx.Err() == nil {
		began := l.cfg.BootTime()
		err := l.subscribe(ctx)
		l.view.Drop()
		if ctx.Err() != nil {
			return
		}
		l.note(err)
		if l.cfg.BootTime()-began > mostPause {
			pause = leastPause
		}
		l.complain(ctx, err)
		if wait(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, mostPause)
	}
}

// complain writes why there is no subscription: at Error when somebody has to act.
func (l *Link) complain(ctx context.Context, err error) {
	if refuses(err) {
		l.cfg.Logger.ErrorContext(ctx, "the broker refuses this gateway", observe.KeyReason, agentid.ReasonOf(err), observe.KeyError, err.Error())
		return
	}
	l.cfg.Logger.WarnContext(ctx, "the broker's events are subscribed to again", observe.KeyReason, agentid.ReasonOf(err), observe.KeyError, err.Error())
}

// subscription is one stream.
type subscription struct {
	link   *Link
	id     string
	body   io.ReadCloser
	lines  *bufio.Scanner
	cancel context.CancelCauseFunc
	quiet  *time.Timer // cancels when the stream is silent
	renews *renewer
}

var errSilent = errors.New("the stream is silent")

// subscribe opens a stream and follows it until it ends. The error says why it ended.
func (l *Link) subscribe(ctx context.Context) error {
	if _, err := l.cfg.Keeper.Refresh(); err != nil {
		l.cfg.Logger.ErrorContext(ctx, "the renewed certificate cannot be read", observe.KeyError, err.Error())
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &subscription{link: l, cancel: cancel, quiet: time.AfterFunc(silence, func() { cancel(errSilent) })}
	defer s.quiet.Stop()
	begin, err := s.open(running)
	if err != nil {
		return s.why(running, err)
	}
	defer func() { _ = s.body.Close() }()
	l.incarnation.Store(&begin.State.Incarnation)
	if err := l.load(running); err != nil {
		return err
	}
	if err := l.view.Reset(begin.State); err != nil {
		return fmt.Errorf("begin with the broker's state: %w", err)
	}
	l.metrics.subscriptions.Inc()
	defer l.metrics.lost.Inc()
	s.id = begin.Subscription
	s.renews = newRenewer(s, begin.State.Seq)
	s.renews.work.Go(func() { s.renews.run(running) })
	defer s.renews.work.Wait() // nothing is extended any more when the next stream begins
	defer cancel(nil)
	l.note(nil)
	l.begun.Do(func() { close(l.first) })
	err = s.follow()
	if ctx.Err() != nil {
		s.leave(ctx)
	}
	return s.why(running, err)
}

// why prefers the reason for which we ended the stream to how it then failed.
func (s *subscription) why(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil || errors.Is(cause, context.Canceled):
		return err
	case errors.Is(cause, errSilent):
		return agentid.Unavailable("broker_unreachable", cause)
	}
	return cause
}

// open sends the request and reads the first line.
func (s *subscription) open(ctx context.Context) (api.Begin, error) {
	l := s.link
	req, err := l.request(ctx, api.PathEvents, nil)
	if err != nil {
		return api.Begin{}, err
	}
	if f, ok := l.view.Floor(); ok && f.Incarnation == req.Header.Get(api.HeaderIncarnation) {
		req.Header.Set(api.HeaderEpoch, strconv.FormatInt(int64(f.Epoch), 10))
	} else {
		req.Header.Del(api.HeaderIncarnation)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return api.Begin{}, l.unreachable(ctx, api.PathEvents, err)
	}
	s.body = resp.Body
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxRequest))
		if err != nil {
			return api.Begin{}, l.unreachable(ctx, api.PathEvents, err)
		}
		err = l.refusal(resp.StatusCode, body)
		if agentid.ReasonOf(err) == "broker_restored" {
			l.incarnation.Store(new(string)) // what was known is of no life that goes on
		}
		return api.Begin{}, err
	}
	const first = 64 << 10
	s.lines = bufio.NewScanner(resp.Body)
	s.lines.Buffer(make([]byte, 0, first), api.MaxResponse)
	line, err := s.next()
	if err == nil && line.Begin == nil {
		err = lost("the stream does not begin with a state")
	}
	if err != nil {
		_ = resp.Body.Close()
		return api.Begin{}, err
	}
	return *line.Begin, nil
}

// next reads one line.
func (s *subscription) next() (api.Line, error) {
	if !s.lines.Scan() {
		if err := s.lines.Err(); err != nil {
			return api.Line{}, agentid.Unavailable("broker_unreachable", err)
		}
		return api.Line{}, agentid.Unavailable("broker_unreachable", errors.New("the broker ended the stream"))
	}
	s.quiet.Reset(silence)
	var line api.Line
	if err := api.Decode(s.lines.Bytes(), api.MaxResponse, &line); err != nil {
		return api.Line{}, lost(err.Error())
	}
	return line, nil
}

// follow applies events until the stream ends. An event comes in force before it is
// acknowledged; one that the View knows already is acknowledged again.
func (s *subscription) follow() error {
	for {
		line, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case line.Begin != nil:
			return lost("a second beginning")
		case line.Event == nil:
			continue
		}
		applied, err := s.link.view.Apply(*line.Event)
		if err != nil {
			return fmt.Errorf("an event could not be applied: %w", err)
		}
		s.link.metrics.events.WithLabelValues(line.Event.Kind.String()).Inc()
		s.renews.applied(line.Event.Seq, applied)
	}
}

// leave says that this gateway trusts nothing any more. It is a courtesy: without it the
// broker waits for the lease.
func (s *subscription) leave(ctx context.Context) {
	s.link.view.Drop()
	_ = s.link.call(context.WithoutCancel(ctx), renewWithin, api.PathLeave, api.Leave{Subscription: s.id}, nil)
}

func lost(why string) error {
	return agentid.Errorf(agentid.KindConflict, "stream_gap", "begin again with a state: %s", why)
}
