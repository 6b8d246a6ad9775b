package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/cmd/agentid/demo"
)

func newDemo() *cobra.Command {
	var keep, verbose, apart bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the worked example: one agent, one refund, everything else refused", Args: cobra.NoArgs,
		Long: `Start everything on loopback over a folder of its own, run the worked example with Stripe's
own SDK against a payments simulator, print each step, and stop. Exit code 0 only when every
expectation held.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Run(cmd.Context(), demo.Options{ //nolint:wrapcheck // begins with "demo"
				Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(), Color: terminal(), Verbose: verbose, Keep: keep, Apart: apart, Version: version(),
			})
		},
	}
	cmd.Flags().BoolVar(&apart, "apart", false, "broker and gateway apart, over mutual TLS")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the data folder behind")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "also print the server's log lines")
	return cmd
}

// terminal reports whether standard output is a terminal that wants colour.
func terminal() bool {
	info, err := os.Stdout.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
