package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/server/ledger"
)

// firstAdmin is the name of the credential that the first start makes.
const firstAdmin = "bootstrap"

// bootstrap makes the first administrator's credential and leaves it in a file that
// only this user can read. It is never logged or printed.
func (p *Process) bootstrap(ctx context.Context) error {
	_, secret, err := p.ledger.BootstrapAdmin(ctx, firstAdmin, adminRecord("admin.bootstrap"))
	if agentid.ReasonOf(err) == "already_bootstrapped" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the first administrator: %w", err)
	}
	if err := WriteCredential(p.cfg.Admin.TokenFile, secret); err != nil {
		return fmt.Errorf("%w; agentid admin recover makes another", err)
	}
	p.opts.Logger.InfoContext(ctx, "the first administrator's credential was written", observe.KeyFile, p.cfg.Admin.TokenFile)
	return nil
}

func adminRecord(operation string) auditlog.Record {
	return auditlog.Record{Kind: auditlog.Admin, Phase: auditlog.Single, Operation: operation, Decision: auditlog.Allow}
}

// Recover makes a new administrator's credential with the server stopped, for when the
// first one was lost, and writes it to the configured file. Others stay valid.
func Recover(ctx context.Context, cfg config.Config) (err error) {
	f, err := lock(filepath.Join(cfg.DataDir, "agentid.lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	key, err := seal.Resolve(cfg.SealKey.String())
	if err != nil {
		return err //nolint:wrapcheck // begins with "seal"
	}
	l, err := ledger.Open(ctx, ledger.Config{Path: filepath.Join(cfg.DataDir, ledgerFile), SealKey: key})
	if err != nil {
		return err //nolint:wrapcheck // begins with "ledger"
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	_, secret, err := l.AddAdmin(ctx, "recovered", adminRecord("admin.recover"))
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return WriteCredential(cfg.Admin.TokenFile, secret)
}

// WriteCredential puts a credential into a file of mode 0600, in place of what is there:
// whole or not at all, on disk at return.
func WriteCredential(path string, secret agentid.Secret) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".credential-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.WriteString(secret.Reveal() + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
