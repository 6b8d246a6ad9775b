package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/yamlfile"
	"github.com/agentid-dev/agentid/server/admin"
)

func newApply() *cobra.Command {
	var (
		conn  connection
		out   printer
		files []string
		dry   bool
	)
	cmd := &cobra.Command{
		Use: "apply -f FILE…", Short: "Bring what files declare into place: idempotent, all judged before anything is written", Args: cobra.NoArgs,
		Long: `Bring tenants, principals, connectors, agent types, templates, grants and agents into the
state that YAML files declare. Applying the same files again changes nothing. Everything is
judged before anything is written; what no file declares is left alone.

A connector's credential is given by reference: "credential: env:STRIPE_KEY" or
"credential: file:/path", as is an identity provider's client_secret; an agent's public key as a JWK, or "key: file:agent.pub".` + connectionHelp,
		Example: `  agentid apply -f acme.yaml --dry-run     # what would change, field by field
  agentid apply -f acme.yaml -f agents.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if len(files) == 0 {
				return usagef("-f: name at least one file")
			}
			docs, set, err := readDocuments(files)
			if err != nil {
				return err
			}
			admin, err := conn.admin()
			if err != nil {
				return err
			}
			plan, err := sendApply(cmd, admin, docs, set, dry)
			if err != nil {
				return err
			}
			return printPlan(cmd.OutOrStdout(), &out, plan)
		},
	}
	conn.flags(cmd)
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "YAML file with one or more documents; repeatable")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would change, and write nothing")
	out.flag(cmd)
	return cmd
}

// readDocuments reads files and puts what their references name in place.
func readDocuments(files []string) ([]yamlfile.Document, []admin.Document, error) {
	var docs []yamlfile.Document
	var set []admin.Document
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, usageError{err}
		}
		found, err := yamlfile.Split(file, data)
		if err != nil {
			return nil, nil, err //nolint:wrapcheck // every problem with its line
		}
		for _, d := range found {
			raw, err := d.JSON()
			if err != nil {
				return nil, nil, err //nolint:wrapcheck // every problem with its line
			}
			if raw, err = resolveReferences(d, raw); err != nil {
				return nil, nil, err
			}
			docs = append(docs, d)
			set = append(set, admin.Document{Source: file, Line: d.Line(), Object: raw})
		}
	}
	return docs, set, nil
}

// resolveReferences reads a connector's credential and an agent's key where they are.
func resolveReferences(d yamlfile.Document, raw json.RawMessage) (json.RawMessage, error) {
	var item object
	if err := json.Unmarshal(raw, &item); err != nil {
		return raw, nil //nolint:nilerr // not an object: the server says so, with the line
	}
	problem := func(key string, err error) error {
		p := d.Problem(key, err.Error())
		p.Source = "" // it may hold the secret itself
		return &yamlfile.Error{Problems: []yamlfile.Problem{p}}
	}
	if text, ok := item["credential"].(string); ok && item["kind"] == admin.KindConnector {
		secret, err := readReference(text)
		if err != nil {
			return nil, problem("credential", err)
		}
		item["credential"] = secret
	}
	if text, ok := item["client_secret"].(string); ok && item["kind"] == admin.KindIdentityProvider {
		secret, err := readReference(text)
		if err != nil {
			return nil, problem("client_secret", err)
		}
		item["client_secret"] = secret
	}
	if text, ok := item["key"].(string); ok && item["kind"] == admin.KindAgent {
		ref, err := config.ParseReference(text)
		if err != nil {
			return nil, problem("key", errors.New("expected a public JWK, or file:/path of one"))
		}
		path, file := ref.Path()
		if !file {
			return nil, problem("key", errors.New("expected a public JWK, or file:/path of one"))
		}
		key, err := os.ReadFile(path)
		if err != nil || !json.Valid(key) {
			return nil, problem("key", fmt.Errorf("%s is not a JWK file", path))
		}
		item["key"] = json.RawMessage(key)
	}
	return json.Marshal(item) //nolint:wrapcheck // was JSON before
}

func readReference(text string) (string, error) {
	ref, err := config.ParseReference(text)
	if err != nil {
		return "", err //nolint:wrapcheck // says what was expected
	}
	secret, err := ref.Read()
	return secret.Reveal(), err //nolint:wrapcheck // names the reference
}

// sendApply calls the API. Faults come back as problems at their lines.
func sendApply(cmd *cobra.Command, api adminclient.Admin, docs []yamlfile.Document, set []admin.Document, dry bool) (admin.Plan, error) {
	path := "/apply"
	if dry {
		path += "?dry_run=true"
	}
	var plan admin.Plan
	err := api.Call(cmd.Context(), http.MethodPost, path, map[string]any{"documents": set}, &plan)
	refusal, refused := errors.AsType[*client.Refusal](err)
	if !refused {
		return plan, err //nolint:wrapcheck // says what failed
	}
	var faults struct {
		Faults []admin.Fault `json:"faults"`
	}
	if json.Unmarshal(refusal.Body, &faults) != nil || len(faults.Faults) == 0 {
		return plan, err //nolint:wrapcheck // a Refusal says it all
	}
	all := &yamlfile.Error{}
	for _, f := range faults.Faults {
		if f.Document < 0 || f.Document >= len(docs) {
			continue
		}
		p := docs[f.Document].Problem(f.Field, f.Message)
		if f.Field == "credential" || f.Field == "client_secret" {
			p.Source = ""
		}
		all.Problems = append(all.Problems, p)
	}
	return plan, all
}

// printPlan writes one line per object, and below it one per field that differs.
func printPlan(w io.Writer, out *printer, plan admin.Plan) error {
	if out.format == "json" {
		return out.json(w, plan)
	}
	counts := map[string]int{}
	for _, c := range plan.Changes {
		counts[c.Action]++
		_, _ = fmt.Fprintf(w, "%-9s %-10s %s\n", c.Action, c.Kind, c.Ref)
		if c.Action != admin.ActionUpdate {
			continue
		}
		for _, f := range c.Fields {
			_, _ = fmt.Fprintf(w, "          %s: %s → %s\n", f.Name, cell(f.From), cell(f.To))
		}
		if c.Edges > 0 {
			_, _ = fmt.Fprintf(w, "          relationships: %d\n", c.Edges)
		}
	}
	actions := make([]string, 0, len(counts))
	for a := range counts {
		actions = append(actions, a)
	}
	sort.Strings(actions)
	for _, a := range actions {
		_, _ = fmt.Fprintf(w, "%d %s  ", counts[a], a)
	}
	suffix := ""
	if plan.DryRun {
		suffix = "(dry run: nothing was written)"
	}
	_, err := fmt.Fprintln(w, suffix)
	return err //nolint:wrapcheck // standard output is gone
}
