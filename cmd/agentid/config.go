package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/internal/config"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check and show the server's configuration",
		Example: `  agentid config check --config /etc/agentid/agentid.yaml
  agentid config show                              # the defaults`,
	}
	cmd.AddCommand(newConfigCheck(), newConfigShow())
	return cmd
}

func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", env("AGENTID_CONFIG", ""), "configuration file; without one, the defaults on loopback")
}

// loadConfig reads the file, or gives the defaults where none is named.
func loadConfig(path string) (config.Config, error) {
	if path == "" {
		return config.Default("agentid-data"), nil
	}
	return config.Load(path) //nolint:wrapcheck // every problem with its line
}

func newConfigCheck() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration: unknown keys, types, values, references", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := loadConfig(path); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func newConfigShow() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "show", Short: "Print the effective configuration; secrets appear as their references", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path)
			if err != nil {
				return err
			}
			text, err := c.Show()
			if err != nil {
				return err //nolint:wrapcheck // cannot happen for values that were read
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	configFlag(cmd, &path)
	return cmd
}
