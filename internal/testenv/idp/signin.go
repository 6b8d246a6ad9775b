package idp

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/oauth2"
)

// Tokens are what a provider hands to a client for a user.
type Tokens struct {
	ID      string // ID token, a JWT
	Access  string // access token: a JWT where a resource was asked for, or by Zitadel
	Refresh string // only with the scope offline_access
}

// SignIn signs a user in at the provider without a browser, as the client would make it
// happen: authorization code with PKCE, the login page's form, the code's exchange. The
// scope "openid email profile groups" is asked for; resource, if not empty, too.
func (p *Provider) SignIn(ctx context.Context, c Client, u User, resource string) (Tokens, error) {
	var meta struct {
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
	}
	if err := getJSON(ctx, strings.TrimSuffix(p.Issuer, "/")+"/.well-known/openid-configuration", &meta); err != nil {
		return Tokens{}, err
	}
	scopes := []string{"openid", "email", "profile", "groups"}
	options := []oauth2.AuthCodeOption{}
	if resource != "" {
		options = append(options, oauth2.SetAuthURLParam("resource", resource))
		scopes = append(scopes, "api")
	}
	o := oauth2.Config{
		ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: c.Redirects[0], Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: meta.Authorization, TokenURL: meta.Token, AuthStyle: oauth2.AuthStyleInHeader},
	}
	verifier, state := oauth2.GenerateVerifier(), rand.Text()
	final, err := Visit(ctx, o.AuthCodeURL(state, append(options, oauth2.S256ChallengeOption(verifier))...), u, c.Redirects[0])
	if err != nil {
		return Tokens{}, err
	}
	if final.Query().Get("state") != state {
		return Tokens{}, fmt.Errorf("another state came back: %s", final)
	}
	t, err := o.Exchange(ctx, final.Query().Get("code"), append(options, oauth2.VerifierOption(verifier))...)
	if err != nil {
		return Tokens{}, err
	}
	id, _ := t.Extra("id_token").(string)
	return Tokens{ID: id, Access: t.AccessToken, Refresh: t.RefreshToken}, nil
}

// maxPages bounds the redirects and forms of one sign-in.
const maxPages = 20

// Visit opens a URL as a browser without scripts would: it keeps cookies, follows redirects
// and the first link that a page shows as a button, fills in the login form that it meets
// with the user's name and password, and stops at the first redirect to a URL that begins
// with until, which it returns unvisited. Any other page is an error.
func Visit(ctx context.Context, start string, u User, until string) (*url.URL, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	v := visitor{until: until, user: u, client: http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	at, form := start, url.Values(nil)
	for range maxPages {
		next, fields, err := v.step(ctx, at, form)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(next.String(), until) && fields == nil {
			return next, nil
		}
		at, form = next.String(), fields
	}
	return nil, errors.New("the sign-in does not end")
}

type visitor struct {
	client   http.Client
	user     User
	until    string
	attempts int
}

// step loads one page and says where it leads: by redirect, or by its form.
func (v *visitor) step(ctx context.Context, at string, form url.Values) (*url.URL, url.Values, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return nil, nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		next, err := resp.Location()
		return next, nil, err
	}
	if link := buttonPattern.FindSubmatch(text); link != nil {
		next, err := req.URL.Parse(html.UnescapeString(string(link[1])))
		return next, nil, err
	}
	if !strings.Contains(string(text), `name="password"`) || v.attempts > 0 {
		return nil, nil, fmt.Errorf("%s answered %d: %s", req.URL, resp.StatusCode, text)
	}
	v.attempts++
	return fill(req.URL, string(text), v.user)
}

var (
	buttonPattern = regexp.MustCompile(`<a [^>]*role="button" href="([^"]*)"`)
	formPattern   = regexp.MustCompile(`(?s)<form[^>]*?action="([^"]*)"`)
	fieldPattern  = regexp.MustCompile(`<input[^>]*>`)
	namePattern   = regexp.MustCompile(`\bname="([^"]*)"`)
	valuePattern  = regexp.MustCompile(`\bvalue="([^"]*)"`)
)

// fill answers the login form of a page.
func fill(page *url.URL, text string, u User) (*url.URL, url.Values, error) {
	action := formPattern.FindStringSubmatch(text)
	if action == nil {
		return nil, nil, fmt.Errorf("no form with an action at %s", page)
	}
	next, err := page.Parse(html.UnescapeString(action[1]))
	if err != nil {
		return nil, nil, err
	}
	fields := url.Values{}
	for _, tag := range fieldPattern.FindAllString(text, -1) {
		name := namePattern.FindStringSubmatch(tag)
		if name == nil {
			continue
		}
		switch name[1] {
		case "username":
			fields.Set(name[1], u.Username)
		case "password":
			fields.Set(name[1], u.Password)
		default:
			if value := valuePattern.FindStringSubmatch(tag); value != nil {
				fields.Set(name[1], html.UnescapeString(value[1]))
			}
		}
	}
	return next, fields, nil
}

func getJSON(ctx context.Context, at string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d", at, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
