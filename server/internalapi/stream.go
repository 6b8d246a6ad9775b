package internalapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// writeWithin is how long one line of a stream may take to leave.
const writeWithin = 5 * time.Second

var errGone = errors.New("the gateway's stream has ended")

// stream is one gateway's subscription: to the hub a wire.Subscriber that returns from
// Apply when the gateway has acknowledged.
type stream struct {
	id, gateway string
	sub         *hub.Subscription
	begin       wire.State
	lines       chan wire.Event
	gone        chan struct{} // closed when the request has ended

	mu      sync.Mutex
	acked   uint64
	applied map[uint64]wire.Applied
	moved   chan struct{}
}

// Reset implements wire.Subscriber. The state is the first line.
func (s *stream) Reset(begin wire.State) error {
	s.begin = begin
	s.acked = begin.Seq
	return nil
}

// Apply implements wire.Subscriber.
func (s *stream) Apply(e wire.Event) (wire.Applied, error) {
	select {
	case s.lines <- e:
	case <-s.gone:
		return wire.Applied{}, errGone
	}
	for {
		s.mu.Lock()
		applied, done := s.applied[e.Seq], s.acked >= e.Seq
		delete(s.applied, e.Seq)
		moved := s.moved
		s.mu.Unlock()
		if done {
			return applied, nil
		}
		select {
		case <-moved:
		case <-s.gone:
			return wire.Applied{}, errGone
		}
	}
}

// acknowledge takes what the gateway says it has in force.
func (s *stream) acknowledge(r api.Renew) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Acked <= s.acked {
		return
	}
	s.acked = r.Acked
	for seq, a := range r.Applied {
		a.Requests = a.Requests[:min(len(a.Requests), wire.MaxOnWire)]
		s.applied[seq] = a
	}
	close(s.moved)
	s.moved = make(chan struct{})
}

// streams are the open subscriptions.
type streams struct {
	mu   sync.Mutex
	byID map[string]*stream
}

func (s *streams) add(one *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[one.id] = one
}

func (s *streams) remove(one *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, one.id)
}

// of finds the subscription of a gateway: KindConflict "subscription_dropped".
func (s *streams) of(p peer, id string) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.byID[id]; ok && one.gateway == p.Name {
		return one, nil
	}
	return nil, agentid.Errorf(agentid.KindConflict, "subscription_dropped", "the subscription ended: subscribe again")
}

// events is GET /internal/v1/events. It ends with the subscription, the connection or
// the certificate.
func (a *API) events(w http.ResponseWriter, r *http.Request, p peer) error {
	if known := r.Header.Get(api.HeaderIncarnation); known != "" {
		epoch, err := strconv.ParseInt(r.Header.Get(api.HeaderEpoch), 10, 64)
		if err != nil || epoch < 0 {
			return agentid.Invalidf(api.HeaderEpoch, "want the newest epoch that the gateway knows")
		}
		if err := a.cfg.Hub.Seen(known, agentid.Epoch(epoch)); err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
	}
	s := &stream{
		id: httpx.NewID(), gateway: p.Name, lines: make(chan wire.Event), gone: make(chan struct{}),
		applied: map[uint64]wire.Applied{}, moved: make(chan struct{}),
	}
	defer close(s.gone)
	var err error
	if s.sub, err = a.cfg.Hub.Subscribe(p.Name, s, hub.Leased); err != nil {
		return agentid.Unavailable("fleet_unavailable", err)
	}
	defer s.sub.Close()
	a.streams.add(s)
	defer a.streams.remove(s)
	a.cfg.Logger.InfoContext(r.Context(), "a gateway subscribed", observe.KeyGateway, p.Name, "seq", s.begin.Seq)
	a.follow(w, r, p, s)
	return nil
}

// follow writes lines until something ends.
func (a *API) follow(w http.ResponseWriter, r *http.Request, p peer, s *stream) {
	out := liner{w: w, control: http.NewResponseController(w)}
	_ = out.control.SetReadDeadline(time.Time{}) // there is nothing more to read
	httpx.NoStore(w.Header())
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	err := out.line(api.Line{Begin: &api.Begin{Subscription: s.id, State: s.begin}})
	beat := time.NewTicker(api.Beat)
	defer beat.Stop()
	for err == nil {
		select {
		case e := <-s.lines:
			failpoint.Hit("stream.event")
			var line []byte
			if line, err = a.lines.of(e); err == nil {
				err = out.write(line)
			}
		case <-beat.C:
			if a.cfg.Now().After(p.cert.NotAfter) {
				return
			}
			err = out.line(api.Line{Beat: true})
		case <-s.sub.Done():
			return
		case <-a.cfg.Draining:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// liner writes lines of JSON, each at once.
type liner struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (l liner) line(line api.Line) error {
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	return l.write(append(data, '\n'))
}

func (l liner) write(data []byte) error {
	if err := l.control.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	if _, err := l.w.Write(data); err != nil {
		return err
	}
	return l.control.Flush()
}

// encoded keeps the newest events as lines: all streams write the same bytes.
type encoded struct {
	mu    sync.Mutex
	lines [16]struct {
		seq  uint64
		data []byte
	}
}

// of is the line of an event, made by whoever asks for it first.
func (n *encoded) of(e wire.Event) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := &n.lines[e.Seq%uint64(len(n.lines))]
	if kept.seq == e.Seq && kept.data != nil {
		return kept.data, nil
	}
	data, err := json.Marshal(api.Line{Event: &e})
	if err != nil {
		return nil, err
	}
	kept.seq, kept.data = e.Seq, append(data, '\n')
	return kept.data, nil
}

// renew is POST /internal/v1/renew.
func (a *API) renew(w http.ResponseWriter, r *http.Request, p peer) error {
	var in api.Renew
	if err := read(w, r, &in); err != nil {
		return err
	}
	s, err := a.streams.of(p, in.Subscription)
	if err != nil {
		return err
	}
	s.acknowledge(in)
	granted, err := s.sub.Renew()
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	answer(w, api.Renewed{Lease: granted})
	return nil
}

// leave is POST /internal/v1/leave.
func (a *API) leave(w http.ResponseWriter, r *http.Request, p peer) error {
	var in api.Leave
	if err := read(w, r, &in); err != nil {
		return err
	}
	s, err := a.streams.of(p, in.Subscription)
	if err != nil {
		return err
	}
	s.sub.Release()
	a.cfg.Logger.InfoContext(r.Context(), "a gateway left", observe.KeyGateway, p.Name)
	answer(w, struct{}{})
	return nil
}
