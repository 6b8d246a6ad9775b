package peopleclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"github.com/agentid-dev/agentid"
)

// ClientID is the command line's at every broker.
const ClientID = "agentid-cli"

// Session is one sign-in as it rests in its file.
type Session struct {
	Issuer    string    `json:"issuer"` // "https://id.example.com/acme"
	Access    string    `json:"access_token"`
	Refresh   string    `json:"refresh_token"`
	Expires   time.Time `json:"expires"` // of Access
	Principal string    `json:"principal,omitempty"`
}

// early is how long before its end a token is exchanged.
const early = 30 * time.Second

const ownerOnly = 0o600

// errNoSession tells how to get one.
var errNoSession = errors.New("nobody is signed in: agentid login --tenant … first")

// DefaultFile is where the session of this user is.
func DefaultFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "agentid-session.json"
	}
	return filepath.Join(dir, "agentid", "session.json")
}

// Load reads a session from a file that only its owner may read.
func Load(path string) (Session, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return Session{}, errNoSession
	}
	if err != nil {
		return Session{}, fmt.Errorf("session file: %w", err)
	}
	if info.Mode().Perm()&^ownerOnly != 0 {
		return Session{}, agentid.Invalidf("session", "%s: must be readable by its owner only (chmod 600)", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Session{}, fmt.Errorf("session file: %w", err)
	}
	var s Session
	if err := json.Unmarshal(data, &s); err != nil || s.Issuer == "" || s.Access == "" {
		return Session{}, agentid.Invalidf("session", "%s: is not a session: sign in again", path)
	}
	return s, nil
}

// Save writes a session in one step, for its owner only.
func (s Session) Save(path string) error {
	const folder = 0o700
	if err := os.MkdirAll(filepath.Dir(path), folder); err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	data, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // the file is where the session is kept, for its owner only
	if err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".session-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("session file: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// Remove forgets a session. One that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("session file: %w", err)
	}
	return nil
}

// Fresh reads a session whose access token is good for a while: one that is not is
// exchanged, by one program at a time, and the next pair is on disk before it is used.
func Fresh(ctx context.Context, path string, client *http.Client) (Session, error) {
	s, err := Load(path)
	if err != nil || time.Until(s.Expires) > early {
		return s, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, ownerOnly)
	if err != nil {
		return Session{}, fmt.Errorf("session file: %w", err)
	}
	defer func() { _ = lock.Close() }() // gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return Session{}, fmt.Errorf("session file: %w", err)
	}
	if s, err = Load(path); err != nil || time.Until(s.Expires) > early { // another one was first
		return s, err
	}
	meta, err := discover(ctx, client, s.Issuer)
	if err != nil {
		return Session{}, err
	}
	token, err := meta.config("").TokenSource(with(ctx, client), &oauth2.Token{RefreshToken: s.Refresh, Expiry: time.Unix(1, 0)}).Token()
	if err != nil {
		return Session{}, fmt.Errorf("the session has ended, sign in again: %w", refused(err))
	}
	next := sessionOf(s.Issuer, token)
	next.Principal = s.Principal
	return next, next.Save(path)
}

func sessionOf(issuer string, token *oauth2.Token) Session {
	return Session{Issuer: issuer, Access: token.AccessToken, Refresh: token.RefreshToken, Expires: token.Expiry.UTC()}
}
