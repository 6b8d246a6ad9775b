package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/client/refusal"
	"github.com/agentid-dev/agentid/internal/config"
)

const (
	maxKeySetBytes = 256 << 10
	keySetTimeout  = 20 * time.Second
)

func newLineage() *cobra.Command {
	cmd := &cobra.Command{Use: "lineage", Short: "Who acts for whom by a token"}
	cmd.AddCommand(newLineageVerify())
	return cmd
}

func newLineageVerify() *cobra.Command {
	var (
		issuer, keys string
		out          printer
	)
	cmd := &cobra.Command{
		Use: "verify [TOKEN]", Short: "Verify a token's chain from the key set alone", Args: cobra.MaximumNArgs(1),
		Long: `Verify a token's signature by a key set, and that what it says of its lineage holds
together: act, lineage digest, the chain of tokens it was made from and the counts it takes
part in. Nobody but the key set is asked: whether the token was revoked, or an agent frozen,
is not known here (see introspect). A token that has expired is verified all the same, and
said to have expired. The token comes from the argument or, better, from standard input.`,
		Example: `  agentid token … --raw | agentid lineage verify --jwks jwks.json
  agentid lineage verify --jwks https://id.example.com/oauth2/jwks -o json < token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			token, err := tokenFrom(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			if keys == "" {
				keys = strings.TrimSuffix(issuer, "/") + "/oauth2/jwks"
			}
			set, err := readKeySet(cmd.Context(), keys)
			if err != nil {
				return err
			}
			lineage, err := capability.VerifyLineage(cmd.Context(), token.Reveal(), set)
			if err != nil {
				return fmt.Errorf("the token is not vouched for by these keys: %w", err)
			}
			return printLineage(cmd.OutOrStdout(), out, lineage, time.Now())
		},
	}
	f := cmd.Flags()
	f.StringVar(&keys, "jwks", "", "the key set: a file, or an https URL (default: the issuer's)")
	f.StringVar(&issuer, "issuer", env("AGENTID_ISSUER", config.DefaultBrokerURL), "the issuer whose key set is asked for without --jwks")
	out.flag(cmd)
	return cmd
}

// printLineage writes the lineage as JSON, or as a line per agent, the leaf first.
func printLineage(w io.Writer, out printer, l capability.Lineage, now time.Time) error {
	data, err := json.Marshal(struct {
		capability.Lineage
		Expired bool `json:"expired"`
	}{l, !now.Before(l.Expiry)})
	if err != nil {
		return fmt.Errorf("encode the lineage: %w", err)
	}
	var doc object
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("encode the lineage: %w", err)
	}
	return out.one(w, doc)
}

// readKeySet reads a key set from a file or an https URL; http is taken for loopback only.
func readKeySet(ctx context.Context, from string) (capability.KeySet, error) {
	text, err := keySetText(ctx, from)
	if err != nil {
		return capability.KeySet{}, err
	}
	set, err := jws.ParseKeySet(text, jws.KeySetPolicy{MaxBytes: maxKeySetBytes})
	if err != nil {
		return capability.KeySet{}, fmt.Errorf("the key set %s: %w", from, err)
	}
	return capability.KeySet(set), nil
}

func keySetText(ctx context.Context, from string) ([]byte, error) {
	if !strings.Contains(from, "://") {
		file, err := os.Open(from)
		if err != nil {
			return nil, fmt.Errorf("the key set: %w", err)
		}
		defer func() { _ = file.Close() }()
		text, err := io.ReadAll(io.LimitReader(file, maxKeySetBytes+1))
		if err != nil {
			return nil, fmt.Errorf("the key set: %w", err)
		}
		return text, nil
	}
	u, err := url.Parse(from)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, usagef("--jwks: want a file, or an https URL")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, usagef("--jwks: %w", err)
	}
	noRedirect := func(*http.Request, []*http.Request) error {
		return errors.New("the key set is somewhere else: name that place")
	}
	answer, err := refusal.Do(&http.Client{Timeout: keySetTimeout, CheckRedirect: noRedirect}, req)
	if err != nil {
		return nil, fmt.Errorf("the key set: %w", err)
	}
	if answer.Status != http.StatusOK {
		return nil, fmt.Errorf("the key set: %s answered %d", from, answer.Status)
	}
	return answer.Body, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
