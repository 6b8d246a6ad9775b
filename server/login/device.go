package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/ledger"
)

// device is a device that waits for its person. Approved is nil until they signed in.
type device struct {
	Client   string    `json:"client"`
	Display  string    `json:"display"`
	UserCode string    `json:"user_code"`
	Polled   time.Time `json:"polled,omitzero"`
	Interval int64     `json:"interval"` // seconds between two polls
	Expires  time.Time `json:"expires"`
	Approved *signedIn `json:"approved,omitempty"`
}

const pollInterval = 5 // seconds

// userAlphabet has no vowels and nothing that looks like something else (RFC 8628 section
// 6.1): 20^8 codes.
const userAlphabet = "BCDFGHJKLMNPQRSTVWXZ"

func newUserCode() (string, error) {
	const length = 8
	out := make([]byte, 0, length)
	var b [1]byte
	for len(out) < length {
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		if limit := 256 - 256%len(userAlphabet); int(b[0]) < limit { // no letter more likely than another
			out = append(out, userAlphabet[int(b[0])%len(userAlphabet)])
		}
	}
	return string(out), nil
}

// readUserCode reads what a person typed: case, spaces and hyphens do not matter.
func readUserCode(text string) string {
	if len(text) > 32 {
		return ""
	}
	return strings.NewReplacer("-", "", " ", "").Replace(strings.ToUpper(text))
}

func shownUserCode(code string) string { return code[:4] + "-" + code[4:] }

// deviceAnswer is RFC 8628 section 3.2.
type deviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// deviceAuthorization is the device authorization endpoint (RFC 8628 section 3.1).
func (s *Service) deviceAuthorization(w http.ResponseWriter, r *http.Request, tenant string) error {
	form, err := httpx.ParseForm(w, r, httpx.FormRules{MaxBytes: 8 << 10, MaxFields: 16})
	if err != nil {
		return err
	}
	c, err := s.client(r.Context(), tenant, form.Get("client_id"))
	if err != nil {
		return err
	}
	offers, err := s.Offers(r.Context(), tenant)
	if err != nil {
		return err
	}
	if !offers.Device {
		return httperr.WithCode(agentid.Errorf(agentid.KindInvalid, "login_unavailable", "nobody signs in to this tenant in this way"), httperr.UnauthorizedClient)
	}
	code, err := newUserCode()
	if err != nil {
		return err
	}
	handle, err := ledger.NewHandle("")
	if err != nil {
		return err
	}
	waits := device{Client: c.id, Display: c.display, UserCode: code, Interval: pollInterval, Expires: s.cfg.Now().Add(deviceLife)}
	if err := s.cfg.Ledger.PutFlow(r.Context(), ledger.FlowDeviceCode, tenant, handle, code, waits.Expires, waits); err != nil {
		return err
	}
	uri := s.cfg.Issuers.Of(tenant) + PathDevice
	_ = httpx.WriteJSON(w, http.StatusOK, deviceAnswer{ // the peer is gone: the code expires
		DeviceCode: handle.Reveal(), UserCode: shownUserCode(code), URI: uri, Complete: uri + "?user_code=" + url.QueryEscape(shownUserCode(code)),
		ExpiresIn: int64(deviceLife / time.Second), Interval: pollInterval,
	})
	return nil
}

// deviceForm asks for the code that the device shows. A code in the URL is filled in and
// still has to be sent.
func (s *Service) deviceForm(w http.ResponseWriter, r *http.Request, tenant string) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	browser, err := s.browser(w, r)
	if err != nil {
		return err
	}
	code := readUserCode(q["user_code"])
	if len(code) == 8 {
		code = shownUserCode(code)
	}
	return render(w, http.StatusOK, "'self'", "device", deviceForm{Tenant: tenant, Action: s.cfg.Issuers.Of(tenant) + PathDevice, UserCode: code, Token: formToken(browser)})
}

// formToken belongs to a browser's cookie: another site can neither read nor make it.
func formToken(browser string) string {
	sum := sha256.Sum256([]byte("form " + browser))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// deviceEntered takes the code, and shows what waits before anybody signs in for it: a
// person who was talked into entering somebody else's code sees it here.
func (s *Service) deviceEntered(w http.ResponseWriter, r *http.Request, tenant string) error {
	form, err := httpx.ParseForm(w, r, httpx.FormRules{MaxBytes: 8 << 10, MaxFields: 16})
	if err != nil {
		return err
	}
	browser, err := s.cookie(r)
	if err != nil || subtle.ConstantTimeCompare([]byte(form.Get("token")), []byte(formToken(browser))) != 1 {
		return agentid.Errorf(agentid.KindForbidden, "browser_differs", "the page is not from this browser, or cookies are off: begin again").WithCause(err)
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != s.cfg.Issuers.Root() && origin != "null" {
		return agentid.Errorf(agentid.KindForbidden, "browser_differs", "the page is of another site")
	}
	var waits device
	code := readUserCode(form.Get("user_code"))
	if err := s.cfg.Ledger.PeekFlowAlias(r.Context(), ledger.FlowDeviceCode, tenant, code, &waits); err != nil {
		return agentid.Errorf(agentid.KindNotFound, "user_code_unknown", "no device waits with this code, or it has expired").WithField("user_code").WithCause(err)
	}
	if waits.Approved != nil {
		return agentid.Errorf(agentid.KindConflict, "user_code_used", "somebody signed in with this code already").WithField("user_code")
	}
	return s.choose(w, r, tenant, request{Client: waits.Client, Display: waits.Display, UserCode: waits.UserCode})
}

// approve lets the device that waits go on as the person that signed in.
func (s *Service) approve(w http.ResponseWriter, r *http.Request, tenant string, asked request, done signedIn) error {
	var waits device
	err := s.cfg.Ledger.ChangeFlow(r.Context(), ledger.FlowDeviceCode, tenant, agentid.Secret{}, asked.UserCode, &waits, func() error {
		if waits.Approved != nil {
			return agentid.Errorf(agentid.KindConflict, "user_code_used", "somebody signed in with this code already")
		}
		waits.Approved = &done
		return nil
	})
	if err != nil {
		return err
	}
	return render(w, http.StatusOK, "'none'", "done", donePage{Tenant: tenant, Program: waits.Display})
}

// deviceCode is a device that asks whether its person signed in (RFC 8628 section 3.4).
func (s *Service) deviceCode(ctx context.Context, tenant string, c client, form httpx.Form) (ledger.LoginTokens, error) {
	handle := agentid.NewSecret(form.Get("device_code"))
	if handle.IsZero() {
		return ledger.LoginTokens{}, agentid.Invalidf("device_code", "is missing")
	}
	if err := s.poll(ctx, tenant, c, handle); err != nil {
		return ledger.LoginTokens{}, err
	}
	var waits device
	out, err := s.cfg.Ledger.RedeemFlow(ctx, ledger.FlowDeviceCode, tenant, handle, &waits, func() (ledger.LoginSession, error) {
		if waits.Approved == nil {
			return ledger.LoginSession{}, deviceRefusal(httperr.AuthorizationPending, "nobody signed in yet")
		}
		return waits.Approved.session(tenant), nil
	}, s.loginRecord(ctx))
	if agentid.ReasonOf(err) == httperr.AuthorizationPending {
		return out, err
	}
	return out, invalidGrant(err)
}

func deviceRefusal(code, message string) error {
	return httperr.WithCode(agentid.Errorf(agentid.KindInvalid, code, "%s", message), code)
}

// poll holds a device to its client and to the interval; one that asks too soon is slowed
// down by five seconds more each time.
func (s *Service) poll(ctx context.Context, tenant string, c client, handle agentid.Secret) error {
	now, early := s.cfg.Now(), false
	var waits device
	err := s.cfg.Ledger.ChangeFlow(ctx, ledger.FlowDeviceCode, tenant, handle, "", &waits, func() error {
		if waits.Client != c.id {
			return agentid.Errorf(agentid.KindInvalid, "code_foreign", "the code was given to another program").WithField("client_id")
		}
		since := now.Sub(waits.Polled)
		if early = !waits.Polled.IsZero() && since >= 0 && since < time.Duration(waits.Interval)*time.Second && waits.Approved == nil; early {
			waits.Interval += pollInterval
		}
		waits.Polled = now
		return nil
	})
	switch {
	case err != nil && agentid.KindOf(err) == agentid.KindNotFound:
		return s.ended(ctx, tenant, handle)
	case err != nil:
		return invalidGrant(err)
	case early:
		return deviceRefusal(httperr.SlowDown, "ask less often")
	}
	return nil
}

// ended tells a code that was used, whose session is revoked by that, from one that
// expired or never was.
func (s *Service) ended(ctx context.Context, tenant string, handle agentid.Secret) error {
	var waits device
	_, err := s.cfg.Ledger.RedeemFlow(ctx, ledger.FlowDeviceCode, tenant, handle, &waits, func() (ledger.LoginSession, error) {
		return ledger.LoginSession{}, deviceRefusal(httperr.ExpiredToken, "the code has expired")
	}, s.loginRecord(ctx))
	if agentid.ReasonOf(err) == "code_unknown" {
		return deviceRefusal(httperr.ExpiredToken, "the code is not known here, or has expired")
	}
	return invalidGrant(err)
}
