package schema

import (
	"context"
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/authzed/spicedb/pkg/development"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	devinterface "github.com/authzed/spicedb/pkg/proto/developer/v1"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/authzed/spicedb/pkg/validationfile"
	"github.com/goccy/go-yaml"
)

//go:embed stories/*.yaml
var stories embed.FS

// Story is one rule that the schema claims to keep: relationships, and what must and
// must not follow from them, in the format of SpiceDB's validation files without a
// schema of its own.
type Story struct {
	Name string // "frozen-ancestor"
	YAML []byte
}

// Result is what became of a story. The rule holds when there are no failures.
type Result struct {
	Assertions int // how many were made
	Failures   []Failure
}

// Failure is an assertion that did not come true.
type Failure struct {
	Line    int // in the story, 1-based; 0: not known
	Message string
}

// Stories returns the stories of the built-in schema, sorted by name.
func Stories() ([]Story, error) {
	entries, err := stories.ReadDir("stories")
	if err != nil {
		return nil, fmt.Errorf("read the stories: %w", err)
	}
	out := make([]Story, 0, len(entries))
	for _, entry := range entries {
		text, err := stories.ReadFile(path.Join("stories", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the stories: %w", err)
		}
		out = append(out, Story{Name: strings.TrimSuffix(entry.Name(), ".yaml"), YAML: text})
	}
	return out, nil
}

// Validate runs a story on the built-in schema; see ValidateOn.
func Validate(ctx context.Context, storyYAML []byte) (Result, error) {
	text, err := builtinText()
	if err != nil {
		return Result{}, fmt.Errorf("compose the built-in schema: %w", err)
	}
	return ValidateOn(ctx, text, storyYAML)
}

// ValidateOn runs a story on a schema text that Compose made, in a graph of its own in
// memory. The error, of KindInvalid, is for a story that cannot be run: unknown keys, a
// schema of its own, relationships that the schema does not take, or nothing asserted.
// Assertions that do not come true are failures in the result.
func ValidateOn(ctx context.Context, schemaText string, storyYAML []byte) (Result, error) {
	story, err := parseStory(storyYAML)
	if err != nil {
		return Result{}, err
	}
	request := &devinterface.RequestContext{Schema: schemaText}
	for _, rel := range story.Relationships.Relationships {
		request.Relationships = append(request.Relationships, toCore(rel))
	}
	graph, problems, err := development.NewDevContext(ctx, request)
	if err != nil {
		return Result{}, fmt.Errorf("set up the story: %w", err)
	}
	if list := problems.GetInputErrors(); len(list) > 0 {
		return Result{}, invalid("relationships", list[0].GetMessage()+": "+list[0].GetContext(), nil)
	}
	defer graph.Dispose()
	asserted := story.Assertions
	result := Result{Assertions: len(asserted.AssertTrue) + len(asserted.AssertCaveated) + len(asserted.AssertFalse)}
	failed, err := development.RunAllAssertions(graph, &asserted)
	if err != nil {
		return Result{}, fmt.Errorf("run the story: %w", err)
	}
	for _, f := range failed {
		result.Failures = append(result.Failures, Failure{Line: int(f.GetLine()), Message: f.GetMessage()})
	}
	return result, nil
}

// parseStory reads a story and refuses what would make it say less than it seems to:
// SpiceDB's own decoder passes over a key that is misspelt.
func parseStory(text []byte) (*validationfile.ValidationFile, error) {
	var shape struct {
		Relationships string `yaml:"relationships"`
		Assertions    struct {
			AssertTrue     []string `yaml:"assertTrue"`
			AssertCaveated []string `yaml:"assertCaveated"`
			AssertFalse    []string `yaml:"assertFalse"`
		} `yaml:"assertions"`
	}
	if err := yaml.UnmarshalWithOptions(text, &shape, yaml.Strict()); err != nil {
		return nil, invalid("story", yaml.FormatError(err, false, false), err)
	}
	story, err := validationfile.DecodeValidationFile(text)
	if err != nil {
		return nil, invalid("story", err.Error(), err)
	}
	a := story.Assertions
	if len(a.AssertTrue)+len(a.AssertCaveated)+len(a.AssertFalse) == 0 {
		return nil, invalid("assertions", "a story that asserts nothing proves nothing", nil)
	}
	return story, nil
}

func toCore(rel tuple.Relationship) *core.RelationTuple { return rel.ToCoreTuple() }
