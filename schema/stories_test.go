package schema_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/schema"
)

// TestStories runs every rule that the schema claims. Each asserts something true and
// something that is not.
func TestStories(t *testing.T) {
	all, err := schema.Stories()
	require.NoError(t, err)
	require.Greater(t, len(all), 15)
	for _, story := range all {
		t.Run(story.Name, func(t *testing.T) {
			result, err := schema.Validate(t.Context(), story.YAML)
			require.NoError(t, err)
			require.Empty(t, result.Failures)
			require.GreaterOrEqual(t, result.Assertions, 2)
			require.Contains(t, string(story.YAML), "assertTrue:")
			require.Contains(t, string(story.YAML), "assertFalse:")
		})
	}
}

// TestWrongStoriesFail turns every story around: what it asserts as true it now asserts
// as false and the other way round, and each single assertion must be found wrong.
func TestWrongStoriesFail(t *testing.T) {
	all, err := schema.Stories()
	require.NoError(t, err)
	swap := strings.NewReplacer("assertTrue:", "assertFalse:", "assertFalse:", "assertTrue:", "assertCaveated:", "assertCaveated:")
	for _, story := range all {
		t.Run(story.Name, func(t *testing.T) {
			right, err := schema.Validate(t.Context(), story.YAML)
			require.NoError(t, err)
			wrong, err := schema.Validate(t.Context(), []byte(swap.Replace(string(story.YAML))))
			require.NoError(t, err)
			require.Equal(t, right.Assertions, wrong.Assertions)
			require.Len(t, wrong.Failures, right.Assertions-caveated(string(story.YAML)))
			require.Positive(t, wrong.Failures[0].Line)
		})
	}
}

// caveated counts the assertions that stand under assertCaveated.
func caveated(story string) int {
	_, after, ok := strings.Cut(story, "assertCaveated:\n")
	if !ok {
		return 0
	}
	block, _, _ := strings.Cut(after, "assertFalse:")
	return strings.Count(block, "    - ")
}

func TestStoriesThatCannotRun(t *testing.T) {
	const rule = "assertions:\n  assertFalse:\n    - 'tenant:acme#enabled@agent:acme/a1'\n"
	ok, err := schema.Validate(t.Context(), []byte(rule))
	require.NoError(t, err)
	require.Empty(t, ok.Failures)
	for name, text := range map[string]string{
		"empty":                    "",
		"no yaml":                  "relationships: [",
		"nothing asserted":         "relationships: 'tenant:acme#enabled@agent:*'\n",
		"a misspelt key":           rule + "relationship: ''\n",
		"a misspelt assertion":     "assertions:\n  assertTru:\n    - 'tenant:acme#enabled@agent:acme/a1'\n",
		"a schema of its own":      rule + "schema: 'definition tenant {}'\n",
		"a relation that is not":   rule + "relationships: 'tenant:acme#nothing@agent:*'\n",
		"a subject it cannot take": rule + "relationships: 'tenant:acme#enabled@principal:*'\n",
		"no relationship":          rule + "relationships: 'tenant'\n",
		"an edge without expiry":   rule + "relationships: 'agent:acme/a1#enabled@agent:*'\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Validate(t.Context(), []byte(text))
			require.Error(t, err)
			require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "%v", err)
		})
	}
}

// TestUnknownPermissionFails: an assertion on a permission that does not exist is a
// failure, also where it asserts "no".
func TestUnknownPermissionFails(t *testing.T) {
	result, err := schema.Validate(t.Context(), []byte("assertions:\n  assertFalse:\n    - 'tenant:acme#fly@agent:acme/a1'\n"))
	require.NoError(t, err)
	require.Len(t, result.Failures, 1)
}
