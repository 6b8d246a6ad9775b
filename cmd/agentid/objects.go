package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

// group is the commands of one kind of object of the administrative API.
type group struct {
	use, plural, short string
	typ                string // type of the ref
	segment            string // of the path: "principals"; empty for tenants
	columns            []string
	freezes            bool
	deletes            bool
}

// path is an object's path from its ref: "principal:acme/alice".
func (g group) path(ref string) (string, error) {
	r, err := agentid.ParseRefAs(g.typ, ref)
	if err != nil {
		return "", usagef("want %s:tenant/name, have %q", g.typ, ref)
	}
	path := "/tenants/" + url.PathEscape(r.Tenant())
	if g.segment != "" {
		path += "/" + g.segment + "/" + url.PathEscape(r.Name())
	}
	return path, nil
}

// command makes the group with list, show, freeze, unfreeze and delete.
func (g group) command(conn *connection) *cobra.Command {
	cmd := &cobra.Command{Use: g.use, Short: g.short, Long: g.short + "." + connectionHelp}
	conn.flags(cmd)
	cmd.AddCommand(g.list(conn), g.show(conn))
	if g.freezes {
		cmd.AddCommand(g.state(conn, "freeze", "Take out of use at once, for a reason"),
			g.state(conn, "unfreeze", "Take one reason away; the last one brings it back"))
	}
	if g.deletes {
		cmd.AddCommand(g.remove(conn))
	}
	return cmd
}

func (g group) list(conn *connection) *cobra.Command {
	var (
		out    printer
		tenant string
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List " + g.plural, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			path := "/tenants"
			if g.segment != "" {
				if tenant == "" {
					return usagef("--tenant: name the tenant")
				}
				path += "/" + url.PathEscape(tenant) + "/" + g.segment
			}
			items, err := conn.all(cmd.Context(), path)
			if err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), items, g.columns...)
		},
	}
	if g.segment != "" {
		cmd.Flags().StringVar(&tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant")
	}
	out.flag(cmd)
	return cmd
}

func (g group) show(conn *connection) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "show REF", Short: "Show one with its state", Args: cobra.ExactArgs(1), Aliases: []string{"describe"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.ask(cmd, conn, out, args[0], http.MethodGet, "", nil)
		},
	}
	out.flag(cmd)
	return cmd
}

// ask makes one call about the object that ref names, and prints the answer.
func (g group) ask(cmd *cobra.Command, conn *connection, out printer, ref, method, suffix string, body any) error {
	if err := out.check(); err != nil {
		return err
	}
	path, err := g.path(ref)
	if err != nil {
		return err
	}
	var item object
	if err := conn.call(cmd.Context(), method, path+suffix, body, &item); err != nil {
		return err
	}
	return out.one(cmd.OutOrStdout(), item)
}

// state is freeze or unfreeze.
func (g group) state(conn *connection, verb, short string) *cobra.Command {
	var (
		out            printer
		reason, tenant string
		filter         []string
	)
	many := g.typ == agentid.TypeAgent && verb == "unfreeze"
	cmd := &cobra.Command{
		Use: verb + " REF", Short: short, Args: cobra.MaximumNArgs(1),
		Example: fmt.Sprintf("  agentid %s %s %s:acme/… --reason operator", g.use, verb, g.typ),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if len(filter) > 0 && len(args) == 0 {
				if tenant == "" {
					return usagef("--tenant: name the tenant that --filter selects in")
				}
				var item object
				if err := g.thaw(cmd.Context(), conn, tenant, filter, reason, &item); err != nil {
					return err
				}
				return out.one(cmd.OutOrStdout(), item)
			}
			if len(args) != 1 || len(filter) > 0 {
				return usagef("want one %s:tenant/name", g.typ)
			}
			path, err := g.path(args[0])
			if err != nil {
				return err
			}
			var item object
			if err := conn.call(cmd.Context(), http.MethodPost, path+"/"+verb, object{"reason": reason}, &item); err != nil {
				return err
			}
			return out.one(cmd.OutOrStdout(), item)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "operator", "why; several reasons add up")
	if many {
		cmd.Use = verb + " [REF]"
		cmd.Flags().StringVar(&tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant that --filter selects in")
		cmd.Flags().StringArrayVar(&filter, "filter", nil, "instead of REF: key=value, repeatable: type, principal, created_before, all")
	}
	out.flag(cmd)
	return cmd
}

func (g group) remove(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "delete REF", Short: "Delete one that nothing refers to", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := g.path(args[0])
			if err != nil {
				return err
			}
			if err := conn.call(cmd.Context(), http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
			return say(cmd, "deleted")
		},
	}
}

// put declares an object and says what changed.
func (g group) put(cmd *cobra.Command, conn *connection, ref string, body object, out *printer) error {
	if err := out.check(); err != nil {
		return err
	}
	path, err := g.path(ref)
	if err != nil {
		return err
	}
	var change object
	if err := conn.call(cmd.Context(), http.MethodPut, path, body, &change); err != nil {
		return err
	}
	return out.list(cmd.OutOrStdout(), []object{change}, "action", "ref")
}

func say(cmd *cobra.Command, text string) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
	return err //nolint:wrapcheck // standard output is gone
}
