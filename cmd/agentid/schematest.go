package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/schema"
)

// errStories means that a rule does not hold.
var errStories = errors.New("not every rule holds")

func newSchemaTest() *cobra.Command {
	return &cobra.Command{
		Use: "test [FILE…]", Short: "Run stories on the schema: the built-in ones, or your own", Args: cobra.ArbitraryArgs,
		Long: `Run stories (SpiceDB validation files without a schema of their own) on this program's
schema: relationships, and what must and must not follow from them.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			stories, err := storiesFrom(args)
			if err != nil {
				return err
			}
			failed := false
			for _, s := range stories {
				result, err := schema.Validate(cmd.Context(), s.YAML)
				if err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
				verdict := fmt.Sprintf("ok    %s (%d assertions)", s.Name, result.Assertions)
				if len(result.Failures) > 0 {
					failed = true
					verdict = "FAIL  " + s.Name
				}
				if err := say(cmd, verdict); err != nil {
					return err
				}
				for _, f := range result.Failures {
					if err := say(cmd, fmt.Sprintf("      line %d: %s", f.Line, f.Message)); err != nil {
						return err
					}
				}
			}
			if failed {
				return errStories
			}
			return nil
		},
	}
}

func storiesFrom(files []string) ([]schema.Story, error) {
	if len(files) == 0 {
		return schema.Stories() //nolint:wrapcheck // says what failed
	}
	var out []schema.Story
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, usageError{err}
		}
		out = append(out, schema.Story{Name: f, YAML: text})
	}
	return out, nil
}
