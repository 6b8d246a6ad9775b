package peopleclient

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/agentid-dev/agentid/client/refusal"
)

// metadata is what a sign-in needs of RFC 8414.
type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Device        string `json:"device_authorization_endpoint"`
}

// discover reads an issuer's metadata, which must be of that issuer (RFC 8414 section 3.3).
func discover(ctx context.Context, client *http.Client, issuer string) (metadata, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		return metadata{}, fmt.Errorf("broker: %w", err)
	}
	answer, err := refusal.Do(client, req)
	if err != nil {
		return metadata{}, err
	}
	if answer.Status != http.StatusOK {
		return metadata{}, refusal.Read(answer.Status, answer.Body)
	}
	var m metadata
	if err := json.Unmarshal(answer.Body, &m); err != nil {
		return metadata{}, fmt.Errorf("the broker's metadata: %w", err)
	}
	if m.Issuer != issuer {
		return metadata{}, fmt.Errorf("the broker at %s says that it is %s: use that address", issuer, m.Issuer)
	}
	return m, nil
}

func (m metadata) config(redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: ClientID, RedirectURL: redirect, Endpoint: oauth2.Endpoint{
		AuthURL: m.Authorization, TokenURL: m.Token, DeviceAuthURL: m.Device, AuthStyle: oauth2.AuthStyleInParams,
	}}
}

func with(ctx context.Context, client *http.Client) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, client)
}

// refused reads the broker's reason out of an error of oauth2.
func refused(err error) error {
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.Response != nil {
		return refusal.Read(answer.Response.StatusCode, answer.Body)
	}
	return err
}

// Browser signs a person in with a browser on this machine: it listens on a loopback
// address, gives open the URL to go to, and waits for the answer until ctx ends. The
// answer's state and iss (RFC 9207) must be those of this sign-in.
func Browser(ctx context.Context, client *http.Client, issuer string, open func(url string) error) (Session, error) {
	meta, err := discover(ctx, client, issuer)
	if err != nil {
		return Session{}, err
	}
	if meta.Authorization == "" {
		return Session{}, errors.New("nobody signs in to this tenant with a browser: no identity provider is set for it")
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return Session{}, fmt.Errorf("listen for the browser: %w", err)
	}
	config := meta.config("http://" + listener.Addr().String() + "/callback")
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	answers := make(chan url.Values, 1)
	server := &http.Server{Handler: callback(state, answers), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer func() { _ = server.Close() }()
	if err := open(config.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier))); err != nil {
		return Session{}, err
	}
	var answer url.Values
	select {
	case <-ctx.Done():
		return Session{}, fmt.Errorf("nobody signed in: %w", context.Cause(ctx))
	case answer = <-answers:
	}
	switch {
	case answer.Get("iss") != issuer:
		return Session{}, errors.New("the answer is of another issuer than the one that was asked")
	case answer.Get("error") != "":
		return Session{}, fmt.Errorf("the broker refuses: %s: %s", answer.Get("error"), answer.Get("error_description"))
	}
	token, err := config.Exchange(with(ctx, client), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return Session{}, refused(err)
	}
	return sessionOf(issuer, token), nil
}

// callback takes the one answer with the right state, and says so to the person.
func callback(state string, answers chan<- url.Values) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			_, _ = io.WriteString(w, "This is not the answer to the sign-in that is under way.\n") // a stranger's
			return
		}
		select {
		case answers <- q:
		default: // the second of two
		}
		_, _ = io.WriteString(w, "You can close this page and go back to the command line.\n") // the browser may be gone
	})
	return mux
}

// Device signs a person in with a browser on another machine: show is given the address
// and the code to enter there, and the answer is waited for until ctx ends.
func Device(ctx context.Context, client *http.Client, issuer string, show func(uri, complete, code string) error) (Session, error) {
	meta, err := discover(ctx, client, issuer)
	if err != nil {
		return Session{}, err
	}
	if meta.Device == "" {
		return Session{}, errors.New("nobody signs in to this tenant with another device: no identity provider is set for that")
	}
	config := meta.config("")
	waits, err := config.DeviceAuth(with(ctx, client))
	if err != nil {
		return Session{}, refused(err)
	}
	if err := show(waits.VerificationURI, waits.VerificationURIComplete, waits.UserCode); err != nil {
		return Session{}, err
	}
	token, err := config.DeviceAccessToken(with(ctx, client), waits)
	if err != nil {
		return Session{}, refused(err)
	}
	return sessionOf(issuer, token), nil
}
