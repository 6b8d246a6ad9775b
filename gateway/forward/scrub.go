package forward

import (
	"bytes"
	"io"
	"sync"
)

// scrubber masks every occurrence of a secret in a stream, also across reads, with
// as many asterisks, so that lengths stay true.
type scrubber struct {
	src    io.ReadCloser
	secret []byte
	buf    []byte // read and not handed out; its tail may begin a secret
	ready  int    // bytes of buf that are clean
	err    error
}

const scrubChunk = 16 << 10

// chunks are what fill reads into; only the bytes of its own read leave one.
var chunks = sync.Pool{New: func() any { return new([scrubChunk]byte) }}

func scrub(src io.ReadCloser, secret string) io.ReadCloser {
	if secret == "" {
		return src
	}
	return &scrubber{src: src, secret: []byte(secret)}
}

// Read implements io.Reader.
func (s *scrubber) Read(p []byte) (int, error) {
	for s.ready == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.buf[:s.ready])
	s.buf, s.ready = s.buf[n:], s.ready-n
	return n, nil
}

func (s *scrubber) fill() {
	chunk := chunks.Get().(*[scrubChunk]byte) //nolint:forcetypeassert // the pool's only type
	defer chunks.Put(chunk)
	n, err := s.src.Read(chunk[:])
	s.buf = append(s.buf, chunk[:n]...)
	s.err = err
	for at := 0; ; {
		i := bytes.Index(s.buf[at:], s.secret)
		if i < 0 {
			break
		}
		for j := range s.secret {
			s.buf[at+i+j] = '*'
		}
		at += i + len(s.secret)
	}
	s.ready = len(s.buf)
	if err == nil {
		s.ready -= s.held()
	}
}

// held is how many bytes at the end of buf are a beginning of the secret.
func (s *scrubber) held() int {
	for n := min(len(s.secret)-1, len(s.buf)); n > 0; n-- {
		if bytes.HasSuffix(s.buf, s.secret[:n]) {
			return n
		}
	}
	return 0
}

// Close implements io.Closer.
func (s *scrubber) Close() error { return s.src.Close() }
