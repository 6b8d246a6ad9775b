package compare

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// wire sends requests that are ready as bytes over connections that stay open, one at a
// time on each. It costs a fraction of http.Client, so that what is measured is the
// server: both share the machine.
type wire struct {
	addr    string
	clients int
	want    int // the status of a good answer
}

// shot is what one slice came to.
type shot struct {
	requests, failed int64
	took             time.Duration
	latency          *hdr.Histogram // microseconds
	first            error          // why the first that failed did
}

// errStatus is an answer that was not the one expected.
var errStatus = errors.New("unexpected status")

const answerWithin = 30 * time.Second

// fire sends for d, or until requests that may be sent only once are used up.
func (w wire) fire(ctx context.Context, d time.Duration, requests [][]byte, once bool) (shot, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	conns := make([]net.Conn, w.clients)
	for i := range conns {
		var dialer net.Dialer
		c, err := dialer.DialContext(ctx, "tcp", w.addr)
		if err != nil {
			return shot{}, fmt.Errorf("connect: %w", err)
		}
		conns[i] = c
		defer func() { _ = c.Close() }()
	}
	var (
		next  atomic.Int64
		total = shot{latency: hdr.New(1, int64(time.Minute/time.Microsecond), 3)}
		mu    sync.Mutex
		group sync.WaitGroup
		start = time.Now()
	)
	for _, c := range conns {
		group.Go(func() {
			own := w.one(ctx, c, func() ([]byte, bool) {
				n := next.Add(1) - 1
				if once && n >= int64(len(requests)) {
					return nil, false
				}
				return requests[int(n)%len(requests)], true
			})
			mu.Lock()
			defer mu.Unlock()
			total.requests += own.requests
			total.failed += own.failed
			total.latency.Merge(own.latency)
			total.first = errors.Join(total.first, own.first)
		})
	}
	group.Wait()
	total.took = time.Since(start)
	return total, nil
}

// one is one connection. A connection that breaks ends it: the slice then fails.
func (w wire) one(ctx context.Context, c net.Conn, next func() ([]byte, bool)) shot {
	own := shot{latency: hdr.New(1, int64(time.Minute/time.Microsecond), 3)}
	answers := bufio.NewReaderSize(c, 16<<10)
	for ctx.Err() == nil {
		request, ok := next()
		if !ok {
			break
		}
		start := time.Now()
		status, err := exchange(c, answers, request)
		if err == nil && status != w.want {
			err = fmt.Errorf("%w %d", errStatus, status)
		}
		if err != nil {
			own.failed++
			if own.first == nil {
				own.first = err
			}
			if !errors.Is(err, errStatus) {
				break
			}
			continue
		}
		own.requests++
		_ = own.latency.RecordValue(max(1, time.Since(start).Microseconds())) // within a minute by its deadline
	}
	return own
}

// exchange writes one request and reads its whole answer.
func exchange(c net.Conn, answers *bufio.Reader, request []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return 0, err //nolint:wrapcheck // a closed connection
	}
	if _, err := c.Write(request); err != nil {
		return 0, err //nolint:wrapcheck // says what failed
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	if _, err = io.Copy(io.Discard, resp.Body); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return resp.StatusCode, resp.Body.Close() //nolint:wrapcheck // was read to its end
}

// ask sends one request on a connection of its own and gives status and header.
func ask(ctx context.Context, addr string, request []byte) (int, http.Header, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, nil, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return 0, nil, err //nolint:wrapcheck // a closed connection
	}
	if _, err := c.Write(request); err != nil {
		return 0, nil, err //nolint:wrapcheck // says what failed
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, resp.Header, errors.Join(err, resp.Body.Close())
}

// message is one HTTP/1.1 request as bytes. Headers come as "Name: value".
func message(method, path, host, body string, headers ...string) []byte {
	text := method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	if body != "" {
		text += fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(text + "\r\n" + body)
}
