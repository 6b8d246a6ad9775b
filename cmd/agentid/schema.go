package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/schema"
)

func newSchema() *cobra.Command {
	conn := &connection{}
	cmd := &cobra.Command{
		Use: "schema", Short: "The SpiceDB schema: show, apply, test",
		Long: "The SpiceDB schema that this program brings: the base and the connectors' fragments." + connectionHelp,
	}
	conn.flags(cmd)
	cmd.AddCommand(newSchemaShow(conn), newSchemaApply(conn), newSchemaTest())
	return cmd
}

func newSchemaShow(conn *connection) *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use: "show", Short: "Print this program's schema, or with --live the one in place", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !live {
				_, err := fmt.Fprint(cmd.OutOrStdout(), schema.Text())
				return err //nolint:wrapcheck // standard output is gone
			}
			var answer struct {
				Text string `json:"text"`
			}
			if err := conn.call(cmd.Context(), http.MethodGet, "/schema", nil, &answer); err != nil {
				return err
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), answer.Text)
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "the schema in place")
	return cmd
}

func newSchemaApply(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "apply", Short: "Write the server's schema where the graph has another; serve does it at start", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer struct {
				Changed bool   `json:"changed"`
				Version string `json:"program_version"`
			}
			if err := conn.call(cmd.Context(), http.MethodPost, "/schema", object{}, &answer); err != nil {
				return err
			}
			if answer.Changed {
				return say(cmd, "written: "+answer.Version)
			}
			return say(cmd, "unchanged: "+answer.Version)
		},
	}
}
