package observe

import (
	"fmt"
	"io"
	"log/slog"
)

// The keys of log attributes. Code that logs takes its keys from this list.
const (
	KeyComponent = "component" // "broker", "gateway", "graph", …
	KeyRequestID = "request_id"
	KeyMethod    = "method"
	KeyPath      = "path" // without the query
	KeyStatus    = "status"
	KeyDuration  = "duration"
	KeyBytes     = "bytes"
	KeyPeer      = "peer"
	KeyReason    = "reason"
	KeyError     = "error"
	KeyAddr      = "addr"
	KeyFile      = "file"
	KeyTenant    = "tenant"
	KeyAgent     = "agent"
	KeyVersion   = "version"
	KeyGateway   = "gateway"
)

// NewLogger writes lines to w as "json" or "text", from level "debug", "info", "warn"
// or "error" up. Any other format or level is an error.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: %w", level, err)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q: want json or text", format)
	}
}
