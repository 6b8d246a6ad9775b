package connectors

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const mediaForm = "application/x-www-form-urlencoded"

// dialects are the error shapes that the gateway knows.
var dialects = []string{"stripe"}

// Compile checks a manifest and makes a Kind of it. Everything that a manifest names
// must be declared in it; an error says the path of the key at fault, such as
// "operations.refund.inputs.amount.type".
func Compile(text []byte) (*Kind, error) {
	m, err := decode(text)
	if err != nil {
		return nil, err
	}
	c := &compiler{m: m, ids: map[string]*regexp.Regexp{}, lookups: map[string]*Lookup{}}
	k := c.kind()
	c.idPatterns()
	c.resourceTypes(k)
	for _, name := range slices.Sorted(maps.Keys(m.Lookups)) {
		c.lookups[name] = c.lookup(name, m.Lookups[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m.Operations)) {
		o := c.operation(k, name, m.Operations[name])
		k.operations[o.Name] = o
		k.routes = append(k.routes, o)
	}
	c.distinct(k)
	if c.err != nil {
		return nil, fmt.Errorf("connector manifest %q: %w", m.Kind, c.err)
	}
	return k, nil
}

// compiler keeps the first fault; what it returns after one is not used.
type compiler struct {
	m       manifest
	ids     map[string]*regexp.Regexp
	lookups map[string]*Lookup
	err     error
}

func (c *compiler) fail(path, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...))
	}
}

func (c *compiler) need(ok bool, path, format string, args ...any) {
	if !ok {
		c.fail(path, format, args...)
	}
}

func (c *compiler) kind() *Kind {
	m := c.m
	c.need(isName(m.Kind), "kind", "must be a lower-case word")
	c.need(slices.Contains(dialects, m.Dialect), "dialect", "must be one of %v", dialects)
	c.need(m.Credential.Header != "", "credential.header", "is required")
	c.need(m.Idempotency.Header != "", "idempotency.header", "is required")
	c.need(m.Idempotency.MaxLength > 0 && m.Idempotency.MaxLength <= 1024, "idempotency.max_length", "must lie between 1 and 1024")
	c.need(m.Body.MaxBytes > 0 && m.Body.MaxBytes <= 1<<20, "body.max_bytes", "must lie between 1 and 1048576")
	c.need(m.Body.MaxParameters > 0 && m.Body.MaxParameters <= 1000, "body.max_parameters", "must lie between 1 and 1000")
	for _, s := range m.Credential.Rejected {
		c.need(s >= 400 && s < 500, "credential.rejected", "%d is not a client error", s)
	}
	k := &Kind{
		Name: m.Kind, AccountType: m.Account, Dialect: m.Dialect,
		Credential:        Credential{Header: m.Credential.Header, Scheme: m.Credential.Scheme, Rejected: m.Credential.Rejected},
		IdempotencyHeader: http.CanonicalHeaderKey(m.Idempotency.Header), MaxKeyLength: m.Idempotency.MaxLength,
		MaxBody: m.Body.MaxBytes, MaxParameters: m.Body.MaxParameters,
		forward: c.headers("headers.forward", m.Headers.Forward), refuse: c.headers("headers.refuse", m.Headers.Refuse),
		respond: c.headers("headers.respond", m.Headers.Respond), resources: map[string][]string{}, operations: map[string]*Operation{},
	}
	k.Environment = Environment{
		BaseURL:     c.environment("environment.base_url", m.Environment.BaseURL),
		Placeholder: c.environment("environment.placeholder", m.Environment.Placeholder),
	}
	for name := range k.forward {
		c.need(!k.refuse[name], "headers.forward", "%s is also refused", name)
	}
	return k
}

// variable is the name of an environment variable of an SDK's own, such as
// STRIPE_API_BASE; ownVariables are not an SDK's.
var (
	variable     = regexp.MustCompile(`\A[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\z`)
	ownVariables = []string{"AGENTID_", "LD_", "DYLD_"}
)

func (c *compiler) environment(path string, names []string) []string {
	for i, name := range names {
		own := slices.ContainsFunc(ownVariables, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		c.need(variable.MatchString(name) && !own, path, "%q is not the name of an SDK's variable", name)
		c.need(!slices.Contains(names[:i], name), path, "%q is listed twice", name)
	}
	return slices.Clone(names)
}

// ownHeaders are those that the gateway itself writes or must never pass on.
var ownHeaders = []string{
	"Authorization", "Proxy-Authorization", "Connection", "Content-Encoding", "Content-Length", "Cookie", "Dpop", "Expect", "Forwarded",
	"Host", "Idempotency-Key", "Keep-Alive", "Set-Cookie", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via", "Accept-Encoding",
}

func (c *compiler) headers(path string, names []string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		canonical := http.CanonicalHeaderKey(name)
		own := slices.Contains(ownHeaders, canonical) || strings.HasPrefix(canonical, "X-Forwarded-")
		c.need(canonical != "" && !strings.ContainsAny(name, " _:"), path, "%q is not the name of a header", name)
		c.need(!own || path == "headers.refuse", path, "%q is the gateway's own", name)
		c.need(!set[canonical], path, "%q is listed twice", name)
		set[canonical] = true
	}
	return set
}

func (c *compiler) idPatterns() {
	for name, text := range c.m.IDs {
		re, err := regexp.Compile(`\A(?:` + text + `)\z`)
		if err != nil {
			c.fail("ids."+name, "%v", err)
			continue
		}
		for _, bad := range []string{"", "/", "a/b", "..", ".", "a b", "a%2fb", "*", "a:b", "\x00"} {
			c.need(!re.MatchString(bad), "ids."+name, "admits %q, which is no id", bad)
		}
		c.ids[name] = re
	}
}

func (c *compiler) id(path, name string) *regexp.Regexp {
	re, ok := c.ids[name]
	c.need(ok, path, "names an unknown id %q", name)
	return re
}

func (c *compiler) resourceTypes(k *Kind) {
	_, has := c.m.Resources[k.AccountType]
	c.need(has && len(c.m.Resources[k.AccountType].Ancestors) == 0, "account", "must be one of resources, without ancestors")
	for name, r := range c.m.Resources {
		onlyAccount := name == k.AccountType || len(r.Ancestors) == 1 && r.Ancestors[0] == k.AccountType
		c.need(onlyAccount, "resources."+name+".ancestors", "must be exactly the account type")
		k.resources[name] = r.Ancestors
	}
}

func (c *compiler) lookup(name string, y lookupYAML) *Lookup {
	at := "lookups." + name
	path, err := parsePattern(y.Path)
	if err != nil {
		c.fail(at+".path", "%v", err)
	}
	vars := path.variables()
	c.need(err != nil || len(vars) == 1, at+".path", "must hold exactly one variable")
	c.need(y.Object != "", at+".object", "is required")
	c.need(len(y.Sets) > 0, at+".sets", "is required")
	l := &Lookup{Name: name, object: y.Object, path: path, same: y.Same}
	if len(vars) == 1 {
		l.variable = vars[0]
	}
	for _, target := range slices.Sorted(maps.Keys(y.Sets)) {
		s, sat := y.Sets[target], at+".sets."+target
		c.need(isName(target), sat, "is not the name of a variable")
		c.need(s.Field != "", sat+".field", "is required")
		c.need(s.ID == "" || !s.Currency && s.Minus == "", sat, "is an id, a currency or a number: one of them")
		c.need(!s.Currency || s.Minus == "", sat, "is an id, a currency or a number: one of them")
		rule := setRule{target: target, field: s.Field, minus: s.Minus, currency: s.Currency, required: s.Required}
		if s.ID != "" {
			rule.id = c.id(sat+".id", s.ID)
		}
		l.sets = append(l.sets, rule)
	}
	return l
}

func (c *compiler) distinct(k *Kind) {
	for i, a := range k.routes {
		for _, b := range k.routes[i+1:] {
			c.need(a.Method != b.Method || !a.path.overlaps(b.path), "operations", "%s and %s match the same requests", a.Name, b.Name)
		}
	}
	c.need(len(k.routes) > 0, "operations", "is required")
}
