package httpx

import (
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// The bounds on a peer. MaxHeaderBytes is what net/http adds 4 KiB of slack to.
const (
	ReadHeaderTimeout = 5 * time.Second
	ReadTimeout       = 15 * time.Second
	WriteTimeout      = 60 * time.Second
	IdleTimeout       = 90 * time.Second
	MaxHeaderBytes    = 16 << 10
	MaxStreams        = 128
)

// NewServer returns a server for h with every bound of this package set. It speaks
// HTTP/1.1, and HTTP/2 over TLS only: never h2c. OPTIONS * reaches h instead of
// being answered by net/http behind its back. The listener and TLS are the caller's.
func NewServer(addr string, h http.Handler, logger *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Addr:                         addr,
		Handler:                      h,
		ReadHeaderTimeout:            ReadHeaderTimeout,
		ReadTimeout:                  ReadTimeout,
		WriteTimeout:                 WriteTimeout,
		IdleTimeout:                  IdleTimeout,
		MaxHeaderBytes:               MaxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		Protocols:                    protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: MaxStreams,
			MaxReadFrameSize:     64 << 10,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     30 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// PeerIP is the address of the connection's other end, and never what a header
// claims. It is invalid when the server did not record one.
func PeerIP(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
