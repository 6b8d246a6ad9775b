package agentproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/config"
)

// othersMask leaves a new socket to its owner: mode 0600.
const othersMask = 0o177

// Listen opens "unix:/path" (mode 0600) or a loopback host:port. Anything else is
// refused: whoever reaches the proxy acts as the agent.
func Listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(path)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, agentid.Invalidf("listen", "want a loopback host:port or unix:/path")
	}
	if !config.IsLoopback(host) {
		return nil, agentid.Invalidf("listen", "must be on loopback or a Unix socket: whoever reaches the proxy acts as the agent")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(agentid.Invalidf("listen", "the name does not stand for a loopback address"), l.Close())
	}
	return l, nil
}

// listenUnix replaces a socket that nobody answers on, and nothing else.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, agentid.Invalidf("listen", "%s exists and is no socket", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(agentid.Invalidf("listen", "%s is in use", path), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	old := unix.Umask(othersMask) // the socket is never there with a wider mode
	defer unix.Umask(old)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}
