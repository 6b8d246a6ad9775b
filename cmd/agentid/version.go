package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/schema"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version, the Go toolchain and the schema's digest", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "agentid %s\n%s\nschema %s\n", version(), runtime.Version(), schema.Version())
			return err //nolint:wrapcheck // standard output is gone
		},
	}
}
