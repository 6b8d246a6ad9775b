package login

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"

	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// chooser is the page that says who asks and where to sign in.
type chooser struct {
	Tenant, Program, Host string
	Device                bool
	UserCode              string
	Providers             []choice
}

type choice struct{ Name, Issuer, URL string }

// deviceForm is the page that a user code is entered in.
type deviceForm struct{ Tenant, Action, UserCode, Token string }

// donePage is the end of a sign-in for a device.
type donePage struct{ Tenant, Program string }

// refused is the page of a refusal. Reference finds it in the log.
type refused struct{ Title, Detail, Reason, Reference string }

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:30em;margin:4em auto;padding:0 1em;color:#111}
h1{font-size:1.25em}a.go,button{display:block;width:100%;box-sizing:border-box;margin:.5em 0;padding:.7em 1em;border:1px solid #345;border-radius:.4em;background:#fff;color:#123;font:inherit;text-align:left;text-decoration:none;cursor:pointer}
input{font:inherit;padding:.5em;width:100%;box-sizing:border-box;letter-spacing:.1em}small{color:#555;display:block}`

var pages = template.Must(template.New("").Parse(`
{{define "head"}}<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>AgentID</title><style>` + style + `</style></head><body>{{end}}
{{define "foot"}}</body></html>
{{end}}
{{define "choose"}}{{template "head"}}<h1>Sign in to {{.Tenant}}</h1>
<p><strong>{{.Program}}</strong> asks you to sign in{{if .Device}} on another device, which shows the code <strong>{{.UserCode}}</strong>{{else}}, and gets the answer at <strong>{{.Host}}</strong>{{end}}. Go on only if you started this.</p>
{{range .Providers}}<a class="go" role="button" href="{{.URL}}" rel="noreferrer">Continue with {{.Name}}<small>{{.Issuer}}</small></a>
{{end}}{{template "foot"}}{{end}}
{{define "device"}}{{template "head"}}<h1>Sign in to {{.Tenant}} on another device</h1>
<form method="post" action="{{.Action}}"><p><label>The code that the device shows<input name="user_code" value="{{.UserCode}}" autocomplete="off" autocapitalize="characters" spellcheck="false" required></label></p>
<input type="hidden" name="token" value="{{.Token}}"><button type="submit">Go on</button></form>{{template "foot"}}{{end}}
{{define "done"}}{{template "head"}}<h1>Signed in</h1><p><strong>{{.Program}}</strong> goes on at {{.Tenant}}. You can close this page.</p>{{template "foot"}}{{end}}
{{define "refused"}}{{template "head"}}<h1>{{.Title}}</h1><p>{{.Detail}}</p><p><small>{{.Reason}} · {{.Reference}}</small></p>{{template "foot"}}{{end}}
`))

var styleHash = func() string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

// guardHeaders keep a page to itself: no script, no frame, no cache, no referrer. actions
// is where its forms may go.
func guardHeaders(h http.Header, actions string) {
	httpx.NoStore(h)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+styleHash+"; form-action "+actions+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func render(w http.ResponseWriter, status int, actions, name string, data any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	guardHeaders(w.Header(), actions)
	_ = httpx.WriteBytes(w, status, "text/html; charset=utf-8", b.Bytes()) // the peer is gone: nobody to tell
	return nil
}

// refusalPage is an httperr.Renderer for people.
func refusalPage(w http.ResponseWriter, r *http.Request, err error) {
	a := httperr.Of(err)
	var b bytes.Buffer
	if failed := pages.ExecuteTemplate(&b, "refused", refused{Title: a.Title, Detail: a.Detail, Reason: a.Reason, Reference: httpx.RequestID(r.Context())}); failed != nil {
		b.Reset()
	}
	guardHeaders(w.Header(), "'none'")
	httperr.Write(w, a, a.Status, "text/html; charset=utf-8", b.Bytes())
}
