package schema_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/authzed/spicedb/pkg/schemadsl/compiler"
	"github.com/authzed/spicedb/pkg/schemadsl/input"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/schema"
)

func compiled(t *testing.T) *compiler.CompiledSchema {
	t.Helper()
	out, err := compiler.Compile(compiler.InputSchema{Source: input.Source("schema"), SchemaString: schema.Text()}, compiler.AllowUnprefixedObjectType())
	require.NoError(t, err)
	return out
}

// prefixes of the constants that name relations and permissions, by object type.
var prefixes = map[string][]string{
	schema.TypeTenant:           {"Tenant"},
	schema.TypePrincipal:        {"Principal"},
	schema.TypeAgentType:        {"AgentType"},
	schema.TypeAgent:            {"Agent"},
	schema.TypeToken:            {"Token"},
	schema.TypeDelegation:       {"Delegation"},
	schema.TypePaymentsAccount:  {"Payments"},
	schema.TypePaymentsCustomer: {"Payments"},
}

// TestNamesMatchTheSchema compares both ways: every name of the schema is a constant, and
// every constant is a name of the schema.
func TestNamesMatchTheSchema(t *testing.T) {
	inSchema := map[string]bool{}
	add := func(prefix, name string) { inSchema[prefix+" "+name] = true }
	for _, object := range compiled(t).ObjectDefinitions {
		known := prefixes[object.GetName()]
		require.NotEmpty(t, known, "type %s has no constants", object.GetName())
		add("Type", object.GetName())
		for _, relation := range object.GetRelation() {
			add(known[0], relation.GetName())
		}
	}
	for _, caveat := range compiled(t).CaveatDefinitions {
		add("Caveat", caveat.GetName())
		for parameter := range caveat.GetParameterTypes() {
			add("PaymentsLimit", parameter)
		}
	}
	inGo := map[string]bool{}
	for name, value := range constants(t) {
		inGo[prefixOf(name)+" "+value] = true
	}
	require.Equal(t, sorted(inSchema), sorted(inGo))
}

// constants reads names.go: every string constant and its value.
func constants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	require.NoError(t, err)
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if literal, ok := spec.Values[i].(*ast.BasicLit); ok {
				value, err := strconv.Unquote(literal.Value)
				require.NoError(t, err)
				out[name.Name] = value
			}
		}
		return true
	})
	require.Greater(t, len(out), 40)
	return out
}

func prefixOf(constant string) string {
	best := ""
	for _, p := range []string{"Type", "Tenant", "Principal", "AgentType", "Agent", "Token", "Delegation", "Payments", "PaymentsLimit", "Caveat"} {
		if strings.HasPrefix(constant, p) && len(p) > len(best) && constant != p {
			best = p
		}
	}
	return best
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// TestTypesMatchAgentID: the base types are those that agentid composes ids for.
func TestTypesMatchAgentID(t *testing.T) {
	require.Equal(t, agentid.TypeTenant, schema.TypeTenant)
	require.Equal(t, agentid.TypePrincipal, schema.TypePrincipal)
	require.Equal(t, agentid.TypeAgentType, schema.TypeAgentType)
	require.Equal(t, agentid.TypeAgent, schema.TypeAgent)
	require.Equal(t, agentid.TypeToken, schema.TypeToken)
}

// TestAccountsHaveAnActive: what every decision asks of an account exists.
func TestAccountsHaveAnActive(t *testing.T) {
	for _, object := range compiled(t).ObjectDefinitions {
		if !strings.HasSuffix(object.GetName(), "_account") {
			continue
		}
		names := []string{}
		for _, relation := range object.GetRelation() {
			names = append(names, relation.GetName())
		}
		require.Contains(t, names, schema.AccountActive)
	}
}

func TestVersionIsTheTextsDigest(t *testing.T) {
	require.Len(t, schema.Version(), 64)
	require.Equal(t, schema.Digest(schema.Text()), schema.Version())
	require.NotEqual(t, schema.Digest(schema.Text()+" "), schema.Version())
}

func TestComposeIsDeterministic(t *testing.T) {
	fragments := schema.Builtin()
	first, err := schema.Compose(fragments...)
	require.NoError(t, err)
	require.Equal(t, schema.Text(), first)
	slices.Reverse(fragments)
	second, err := schema.Compose(fragments...)
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Equal(t, 1, strings.Count(first, "use expiration"))
	require.True(t, strings.HasPrefix(first, "use expiration\n"))
}

func TestComposeTakesAnOperatorsFragment(t *testing.T) {
	text, err := schema.Compose(append(schema.Builtin(), schema.Fragment{
		Name: "wiki", Text: "use expiration\n\ndefinition wiki_page { relation reader: agent_type#instance with expiration\n permission read = reader\n }",
	})...)
	require.NoError(t, err)
	require.Contains(t, text, "definition wiki_page")
	require.Equal(t, 1, strings.Count(text, "use expiration"))
}

func TestComposeRefuses(t *testing.T) {
	base := schema.Builtin()
	cases := map[string]struct {
		fragments []schema.Fragment
		says      string
	}{
		"nothing":               {nil, "no fragment"},
		"a nameless fragment":   {append(base, schema.Fragment{Text: "definition x_y {}"}), "used twice"},
		"a name used twice":     {append(base, schema.Fragment{Name: "base", Text: "definition x_y {}"}), "used twice"},
		"a definition twice":    {append(base, schema.Fragment{Name: "mine", Text: "definition tenant {}"}), `"tenant" is defined by fragment "base" too`},
		"a caveat twice":        {append(base, schema.Fragment{Name: "zz", Text: "caveat payments_limit(a int) { a > 1 }"}), `"payments_limit" is defined by fragment "payments" too`},
		"text that is no zed":   {append(base, schema.Fragment{Name: "mine", Text: "definition {"}), "mine"},
		"a type that is not":    {append(base, schema.Fragment{Name: "mine", Text: "definition wiki_page {\n relation reader: nobody\n}"}), "nobody"},
		"a relation that's not": {append(base, schema.Fragment{Name: "mine", Text: "definition wiki_page {\n permission read = reader\n}"}), "reader"},
		"an import":             {append(base, schema.Fragment{Name: "mine", Text: "use import\nimport \"./other.zed\""}), "import"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Compose(c.fragments...)
			require.Error(t, err)
			require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
			require.Equal(t, schema.ReasonSchema, agentid.ReasonOf(err))
			require.Contains(t, err.Error(), c.says)
		})
	}
}
