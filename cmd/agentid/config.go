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
	var apart bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration: unknown keys, types, values, references", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := shown(path, apart)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	configFlag(cmd, &path)
	apartFlag(cmd, &apart)
	return cmd
}

func apartFlag(cmd *cobra.Command, apart *bool) {
	cmd.Flags().BoolVar(apart, "gateway", false, "the file is one of agentid gateway")
}

// shown is the effective configuration of a file, as YAML.
func shown(path string, apart bool) ([]byte, error) {
	if apart {
		c, err := loadGatewayConfig(path)
		if err != nil {
			return nil, err
		}
		return c.Show() //nolint:wrapcheck // cannot happen for values that were read
	}
	c, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	return c.Show() //nolint:wrapcheck // cannot happen for values that were read
}

func newConfigShow() *cobra.Command {
	var path string
	var apart bool
	cmd := &cobra.Command{
		Use: "show", Short: "Print the effective configuration; secrets appear as their references", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := shown(path, apart)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	configFlag(cmd, &path)
	apartFlag(cmd, &apart)
	return cmd
}
