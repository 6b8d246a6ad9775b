package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

var keyColumns = []string{"kid", "alg", "state", "staged", "activated", "published_until"}

func newKeys() *cobra.Command {
	conn := &connection{}
	cmd := &cobra.Command{
		Use: "keys", Short: "The broker's signing keys and their rotation",
		Long: `The broker's signing keys: staged (published, does not sign) → active → retired (published
until its last token has expired).` + connectionHelp,
		Example: `  agentid keys list
  agentid keys rotate                 # stage a key now, activate it when verifiers know it
  agentid keys rotate --now           # the active key has leaked`,
	}
	conn.flags(cmd)
	cmd.AddCommand(newKeysList(conn), newKeysRotate(conn), newKeysStep(conn, "activate", "Sign with a staged key; the active one is retired"),
		newKeysStep(conn, "retire", "Withdraw a staged key, or a retired one at once"))
	return cmd
}

func newKeysList(conn *connection) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "list", Short: "List signing keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			items, err := conn.items(cmd.Context(), "/keys")
			if err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), items, keyColumns...)
		},
	}
	out.flag(cmd)
	return cmd
}

func newKeysRotate(conn *connection) *cobra.Command {
	var (
		out       printer
		algorithm string
		now       bool
	)
	cmd := &cobra.Command{
		Use: "rotate", Short: "Stage a new key; with --now, sign with it at once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var staged object
			if err := conn.call(cmd.Context(), http.MethodPost, "/keys", object{"alg": algorithm}, &staged); err != nil {
				return err
			}
			if !now {
				return out.list(cmd.OutOrStdout(), []object{staged}, keyColumns...)
			}
			kid, _ := staged["kid"].(string)
			var list struct {
				Items []object `json:"items"`
			}
			if err := conn.call(cmd.Context(), http.MethodPost, "/keys/"+url.PathEscape(kid)+"/activate", object{"now": true}, &list); err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), list.Items, keyColumns...)
		},
	}
	cmd.Flags().StringVar(&algorithm, "alg", "EdDSA", "EdDSA or ES256")
	cmd.Flags().BoolVar(&now, "now", false, "the active key has leaked: do not wait for verifiers")
	out.flag(cmd)
	return cmd
}

func newKeysStep(conn *connection, verb, short string) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: verb + " KID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var list struct {
				Items []object `json:"items"`
			}
			if err := conn.call(cmd.Context(), http.MethodPost, "/keys/"+url.PathEscape(args[0])+"/"+verb, object{}, &list); err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), list.Items, keyColumns...)
		},
	}
	out.flag(cmd)
	return cmd
}
