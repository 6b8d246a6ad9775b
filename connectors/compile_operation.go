package connectors

import (
	"cmp"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

var effects = map[string]Effect{"read": Read, "write": Write, "irreversible": Irreversible}

var sources = map[string]source{"path": inPath, "query": inQuery, "form": inForm}

var valueTypes = map[string]valueType{
	"id": typeID, "integer": typeInteger, "string": typeString, "enum": typeEnum, "money": typeMoney,
}

func (c *compiler) operation(k *Kind, name string, y operationYAML) *Operation {
	at := "operations." + name
	c.need(isName(name) && !strings.Contains(name, "."), at, "is not the name of an operation")
	effect, ok := effects[y.Effect]
	c.need(ok, at+".effect", "must be read, write or irreversible")
	c.need(slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, y.Method), at+".method", "is not supported")
	// APIs with much to ask for take previews and searches as a POST.
	c.need(effect != Read || y.Method == http.MethodGet || y.Method == http.MethodPost, at+".effect", "a read must be a GET or a POST")
	c.need(effect == Read || y.Method != http.MethodGet, at+".effect", "a GET must be a read")
	c.need(isName(y.Permission), at+".permission", "is required")
	c.need(y.Barred == "" || isName(y.Barred), at+".barred", "is not the name of a permission")
	c.need(y.ContentType == "" || y.ContentType == mediaForm, at+".content_type", "must be %s", mediaForm)
	path, err := parsePattern(y.Path)
	if err != nil {
		c.fail(at+".path", "%v", err)
	}
	o := &Operation{
		Name: k.Name + ":" + name, Permission: y.Permission, Barred: y.Barred, ResourceType: y.Resource.Type, Effect: effect,
		Method: y.Method, ContentType: y.ContentType, kind: k, path: path, inputs: map[string]input{}, parameters: map[string]input{},
		exactlyOne: y.ExactlyOne, derived: y.Derived, context: y.Context, facts: y.Facts,
	}
	for _, n := range slices.Sorted(maps.Keys(y.Inputs)) {
		in := c.input(at+".inputs."+n, n, y.Inputs[n], o)
		o.inputs[n] = in
		if in.required {
			o.required = append(o.required, n)
		}
		if in.source == inPath {
			continue
		}
		_, taken := o.parameters[in.parameter]
		c.need(!taken, at+".inputs."+n+".parameter", "%q is another input's", in.parameter)
		o.parameters[in.parameter] = in
	}
	c.pathInputs(at, o)
	for _, p := range y.Pass {
		prefix, ok := strings.CutSuffix(p, "[*]")
		c.need(ok && isName(prefix), at+".pass", "%q must look like name[*]", p)
		c.need(y.ContentType != "", at+".pass", "needs a content_type")
		o.pass = append(o.pass, passthrough(prefix))
	}
	c.variables(at, o, y)
	return o
}

// parameter is the name of a parameter in an API's own spelling: invoice_items[0][amount].
var parameter = regexp.MustCompile(`\A[a-z][a-z0-9_]*(\[[a-z0-9_]+\])*\z`)

func (c *compiler) input(at, name string, y inputYAML, o *Operation) input {
	src, okSource := sources[y.In]
	typ, okType := valueTypes[y.Type]
	c.need(isName(name) && !strings.Contains(name, ".") && !ambient[name], at, "is not the name of an input")
	c.need(okSource, at+".in", "must be path, query or form")
	c.need(okType, at+".type", "must be id, integer, string, enum or money")
	c.need(src != inForm || o.ContentType != "", at+".in", "a form needs a content_type")
	c.need(src != inPath || y.Required, at+".required", "what stands in the path is required")
	c.need((typ == typeEnum) == (len(y.Values) > 0), at+".values", "belongs to an enum")
	c.need((typ == typeMoney) == (y.Currency != ""), at+".currency", "belongs to money")
	c.need((typ == typeID) == (y.ID != ""), at+".id", "belongs to an id")
	c.need(y.Parameter == "" || src != inPath && parameter.MatchString(y.Parameter), at+".parameter", "must look like name[key][key], in a query or a form")
	in := input{name: name, parameter: cmp.Or(y.Parameter, name), source: src, typ: typ, currency: y.Currency, values: y.Values, max: y.Max, required: y.Required}
	if typ == typeID {
		in.id = c.id(at+".id", y.ID)
	}
	if in.max <= 0 {
		in.max = defaultStringLength
	}
	return in
}

// pathInputs holds the path's variables and the inputs that say in: path together.
func (c *compiler) pathInputs(at string, o *Operation) {
	vars := o.path.variables()
	for _, v := range vars {
		in, ok := o.inputs[v]
		c.need(ok && in.source == inPath && in.typ == typeID, at+".path", "{%s} must be an input with in: path and type: id", v)
	}
	for name, in := range o.inputs {
		c.need(in.source != inPath || slices.Contains(vars, name), at+".inputs."+name, "is not in the path")
	}
}

// variables checks that every name the operation uses is an input or set by one of
// its lookups.
func (c *compiler) variables(at string, o *Operation, y operationYAML) {
	known := map[string]bool{}
	for name := range o.inputs {
		known[name] = true
	}
	for _, name := range y.Lookups {
		l, ok := c.lookups[name]
		if !ok {
			c.fail(at+".lookups", "names an unknown lookup %q", name)
			return
		}
		c.need(known[l.variable], at+".lookups", "%s needs %q, which nothing sets before it", name, l.variable)
		for _, s := range l.sets {
			known[s.target] = true
		}
		o.lookups = append(o.lookups, l)
	}
	uses := func(path, name string) { c.need(known[name], at+"."+path, "%q is not known", name) }
	for name, in := range o.inputs {
		if in.typ == typeMoney {
			uses("inputs."+name+".currency", in.currency)
		}
	}
	for name, from := range y.Derived {
		_, isInput := o.inputs[name]
		c.need(!isInput && !ambient[name] && isName(name), at+".derived."+name, "is taken")
		uses("derived."+name, from)
	}
	for name, from := range y.Context {
		uses("context."+name, from)
	}
	for _, name := range append(slices.Clone(y.Facts), y.ExactlyOne...) {
		uses("facts and exactly_one", name)
	}
	c.resourceAndHold(at, o, y, uses)
}

func (c *compiler) resourceAndHold(at string, o *Operation, y operationYAML, uses func(path, name string)) {
	_, known := c.m.Resources[y.Resource.Type]
	c.need(known, at+".resource.type", "is not one of resources")
	c.need(y.Resource.Otherwise == "" || y.Resource.Otherwise == "account", at+".resource.otherwise", "must be account")
	uses("resource.name", y.Resource.Name)
	o.resource = resourceExpr{typ: y.Resource.Type, variable: y.Resource.Name, orAccount: y.Resource.Otherwise != ""}
	if y.Hold == nil {
		c.need(len(y.Facts) == 0, at+".facts", "need a hold")
		return
	}
	c.need(o.Effect.Changes(), at+".hold", "a read holds nothing")
	uses("hold.key", y.Hold.Key)
	uses("hold.amount", y.Hold.Amount)
	uses("hold.fact", y.Hold.Fact)
	c.need(slices.Contains(y.Facts, y.Hold.Fact), at+".hold.fact", "must be one of facts")
	c.need(o.inputs[y.Hold.Amount].typ == typeMoney && o.inputs[y.Hold.Amount].required, at+".hold.amount", "must be a required input of type money")
	var found *Lookup
	for _, l := range o.lookups {
		if l.Name == y.Hold.Lookup {
			found = l
		}
	}
	c.need(found != nil && found.variable == y.Hold.Key, at+".hold.lookup", "must be one of lookups, asked by the hold's key")
	for _, fact := range y.Facts {
		c.need(found == nil || found.setsVariable(fact), at+".facts", "%q is not set by the hold's lookup", fact)
	}
	o.hold = &holdExpr{key: y.Hold.Key, amount: y.Hold.Amount, fact: y.Hold.Fact, lookup: found}
}
