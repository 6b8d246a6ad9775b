package main

import (
	"encoding/json"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/client"
)

// newborn is an agent to be, as the flags of spawn and respawn say.
type newborn struct {
	typ, parent, kind string
	public, keyOut    string
	ceiling           string
	life              time.Duration
}

func (n *newborn) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.parent, "parent", "", "its parent: an agent's name or ref")
	f.StringVar(&n.kind, "kind", "attenuated", "attenuated: its parent bounds it; independent: its type's own authority, where policy allows")
	f.StringVar(&n.public, "public-key", "", "file with its public JWK")
	f.StringVar(&n.keyOut, "key-out", "", "in place of --public-key: make a key, and write the private JWK to this file (mode 0600)")
	f.DurationVar(&n.life, "for", time.Hour, "how long it lives")
}

// key is the public key; with --key-out, of a fresh one that is on disk when this returns.
func (n *newborn) key() (json.RawMessage, error) {
	if (n.public == "") == (n.keyOut == "") {
		return nil, usagef("give --public-key or --key-out")
	}
	if n.public != "" {
		data, err := os.ReadFile(n.public)
		if err != nil {
			return nil, usagef("--public-key: %w", err)
		}
		if !json.Valid(data) {
			return nil, usagef("--public-key: %s is not JSON", n.public)
		}
		return data, nil
	}
	key, err := savedKey(n.keyOut)
	return key.Public(), err
}

// savedKey makes a key and writes it to a new file.
func savedKey(path string) (client.Key, error) {
	key, err := client.GenerateKey("EdDSA")
	if err != nil {
		return client.Key{}, err //nolint:wrapcheck // names the field
	}
	return key, key.Save(path) //nolint:wrapcheck // names the file
}

func (n *newborn) bounds() (json.RawMessage, error) {
	if n.ceiling == "" {
		return nil, nil
	}
	data, err := os.ReadFile(n.ceiling)
	if err != nil || !json.Valid(data) {
		return nil, usagef("--ceiling: want a file with a JSON array of capabilities or templates")
	}
	return data, nil
}

func (n *newborn) expires() string {
	return time.Now().Add(n.life).UTC().Truncate(time.Second).Format(time.RFC3339)
}

func (g group) spawn(conn *connection) *cobra.Command {
	var (
		n         newborn
		out       printer
		parentKey string
		issuer    string
	)
	cmd := &cobra.Command{
		Use: "spawn REF --parent AGENT", Short: "Start a child of an agent, by its parent's own key or as an administrator", Args: cobra.ExactArgs(1),
		Long: `Start a child agent. It acts for its parent's principal. With --parent-key the parent asks
for itself, and the child's key must be made here (--key-out), because its possession is
proven; without, an administrator asks.` + connectionHelp,
		Example: `  agentid agent spawn agent:acme/reader-1 --parent planner --parent-key planner.key \
      --type reader --key-out reader-1.key --for 30m
  agentid agent spawn agent:acme/reader-1 --parent planner --type reader --public-key reader-1.pub`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			ref, err := agentid.ParseRefAs(g.typ, args[0])
			if err != nil {
				return usagef("want agent:tenant/name")
			}
			tenant, parent, err := within(g.typ, ref.Tenant(), n.parent)
			if err != nil {
				return usagef("--parent: %w", err)
			}
			if parentKey != "" {
				return n.byParent(cmd, ref, identity{issuer: issuer, agent: agentid.TypeAgent + ":" + tenant + "/" + parent, key: parentKey}, conn, out)
			}
			public, err := n.key()
			if err != nil {
				return err
			}
			bounds, err := n.bounds()
			if err != nil {
				return err
			}
			body := object{"type": n.typ, "parent": parent, "child_kind": n.kind, "key": public, "expires": n.expires()}
			if bounds != nil {
				body["ceiling"] = bounds
			}
			return g.put(cmd, conn, args[0], body, &out)
		},
	}
	n.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&n.typ, "type", "", "its agent type")
	f.StringVar(&n.ceiling, "ceiling", "", "file with a JSON array of capabilities that no token of it exceeds")
	f.StringVar(&parentKey, "parent-key", "", "the parent's private JWK: a file of mode 0600, file:/path or env:NAME")
	f.StringVar(&issuer, "issuer", env("AGENTID_ISSUER", ""), "the issuer, with --parent-key; default <server>/<tenant>")
	out.flag(cmd)
	return cmd
}

// byParent spawns with the parent's own key.
func (n *newborn) byParent(cmd *cobra.Command, ref agentid.Ref, id identity, conn *connection, out printer) error {
	if n.keyOut == "" {
		return usagef("--key-out: with --parent-key the child's key is made here")
	}
	if n.kind != "attenuated" && n.kind != "independent" {
		return usagef("--kind: want attenuated or independent")
	}
	if id.issuer == "" {
		id.issuer = conn.server + "/" + ref.Tenant()
	}
	parent, err := id.client()
	if err != nil {
		return err
	}
	bounds, err := n.bounds()
	if err != nil {
		return err
	}
	req := client.SpawnRequest{Type: n.typ, Name: ref.Name(), Independent: n.kind == "independent", Lifetime: n.life}
	if bounds != nil {
		parsed, err := capability.ParseRequest(bounds)
		if err != nil {
			return usagef("--ceiling: %w", err)
		}
		req.Ceiling, req.CeilingTemplates = parsed.Capabilities, parsed.Templates
	}
	if req.Key, err = savedKey(n.keyOut); err != nil {
		return err
	}
	child, err := parent.Spawn(cmd.Context(), req)
	if err != nil {
		return err //nolint:wrapcheck // a Refusal says it all
	}
	return out.list(cmd.OutOrStdout(), []object{{"action": "spawned", "ref": child.Agent().String()}}, "action", "ref")
}

func (g group) respawn(conn *connection) *cobra.Command {
	var (
		n               newborn
		out             printer
		name, principal string
	)
	cmd := &cobra.Command{
		Use: "respawn REF --name NEW --principal P", Short: "Start an agent anew under another principal, and retire the old one", Args: cobra.ExactArgs(1),
		Example: `  agentid agent respawn agent:acme/refunds-1 --name refunds-2 --principal bob --key-out refunds-2.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			path, err := g.path(args[0])
			if err != nil {
				return err
			}
			public, err := n.key()
			if err != nil {
				return err
			}
			body := object{"name": name, "principal": principal, "key": public, "expires": n.expires()}
			if n.parent != "" {
				body["parent"], body["child_kind"] = n.parent, n.kind
			}
			var item object
			if err := conn.call(cmd.Context(), http.MethodPost, path+"/respawn", body, &item); err != nil {
				return err
			}
			return out.one(cmd.OutOrStdout(), item)
		},
	}
	n.flags(cmd)
	cmd.Flags().StringVar(&name, "name", "", "the new agent's name")
	cmd.Flags().StringVar(&principal, "principal", "", "whom the new agent acts for")
	out.flag(cmd)
	return cmd
}

func (g group) narrow(conn *connection) *cobra.Command {
	var (
		n   newborn
		out printer
	)
	cmd := &cobra.Command{
		Use: "narrow REF --ceiling FILE", Short: "Narrow what no token of an agent exceeds; tokens of it and of those it bounds are revoked", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bounds, err := n.bounds()
			if err != nil {
				return err
			}
			if bounds == nil {
				return usagef("--ceiling: name a file")
			}
			return g.ask(cmd, conn, out, args[0], http.MethodPut, "/ceiling", object{"ceiling": bounds})
		},
	}
	cmd.Flags().StringVar(&n.ceiling, "ceiling", "", "file with a JSON array of capabilities and template calls")
	out.flag(cmd)
	return cmd
}

func newRotate(conn *connection) *cobra.Command {
	var key, keyOut, issuer string
	cmd := &cobra.Command{
		Use: "rotate REF --key OLD --key-out NEW", Short: "Give an agent another key, with the old one; its tokens are revoked", Args: cobra.ExactArgs(1),
		Example: `  agentid agent rotate agent:acme/refunds-1 --key refunds-1.key --key-out refunds-1.new.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := agentid.ParseRefAs(agentid.TypeAgent, args[0])
			if err != nil {
				return usagef("want agent:tenant/name")
			}
			if keyOut == "" {
				return usagef("--key-out: name the file of the new key")
			}
			if issuer == "" {
				issuer = conn.server + "/" + ref.Tenant()
			}
			agent, err := (&identity{issuer: issuer, agent: args[0], key: key}).client()
			if err != nil {
				return err
			}
			next, err := savedKey(keyOut)
			if err != nil {
				return err
			}
			if err := agent.Rotate(cmd.Context(), next); err != nil {
				return err //nolint:wrapcheck // a Refusal says it all
			}
			return say(cmd, "rotated: "+next.ID())
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "the old private JWK: a file of mode 0600, file:/path or env:NAME")
	f.StringVar(&keyOut, "key-out", "", "file for the new private JWK (mode 0600)")
	f.StringVar(&issuer, "issuer", env("AGENTID_ISSUER", ""), "the issuer; default <server>/<tenant>")
	return cmd
}
