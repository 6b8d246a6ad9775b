package enrol

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/sources"
	"github.com/agentid-dev/agentid/server/ledger"
)

// registry keeps the sources of the settings that were used, with their keys, for as long
// as a setting is at the same version.
type registry struct {
	environment sources.Environment

	mu   sync.Mutex
	kept map[agentid.Ref]kept
}

type kept struct {
	version int64
	created time.Time // tells a setting that was deleted and made anew
	source  federation.Source
}

// maxKept bounds the sources that are kept; beyond it one that is not used makes room.
const maxKept = 1024

func (r *registry) source(w ledger.WorkloadIssuer) (federation.Source, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.kept[w.Ref]; ok && k.version == w.Version && k.created.Equal(w.Created) {
		return k.source, nil
	}
	source, err := sources.New(SettingOf(w), r.environment)
	if err != nil {
		return nil, agentid.Errorf(agentid.KindInternal, "internal", "internal error").WithCause(err)
	}
	if len(r.kept) >= maxKept {
		for ref := range r.kept {
			delete(r.kept, ref)
			break
		}
	}
	r.kept[w.Ref] = kept{version: w.Version, created: w.Created, source: source}
	return source, nil
}

// SettingOf is a stored issuer as package sources reads it.
func SettingOf(w ledger.WorkloadIssuer) sources.Setting {
	return sources.Setting{
		Kind: w.Kind, Issuer: w.Issuer, KeysURL: w.KeysURL, Keys: w.Keys, BundleURL: w.BundleURL, BundleFile: w.BundleFile,
		WorkloadAPI: w.WorkloadAPI, Endpoint: w.Endpoint, AllowPrivate: w.AllowPrivate, MaxStale: w.MaxStale,
	}
}

// Refresher is a source whose keys can be fetched at once.
type Refresher interface {
	Refresh(ctx context.Context) error
}

// Try judges a setting before it is added: its form, then whether its documents can be had
// and are what they should be. KindInvalid names the field and what is wrong.
func (s *Service) Try(ctx context.Context, setting sources.Setting) error {
	source, err := sources.New(setting, s.registry.environment)
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	fetching, ok := source.(Refresher)
	if !ok {
		return nil
	}
	if err := fetching.Refresh(ctx); err != nil {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "a workload issuer is refused", slog.String("issuer", setting.Issuer), slog.Any("error", err))
		reason := err.Error()
		if e := agentid.AsError(err); e.Kind != agentid.KindInternal {
			reason = e.Message
			if e.Cause != nil { // the reader configures the issuer
				reason += ": " + e.Cause.Error()
			}
		}
		return agentid.Errorf(agentid.KindInvalid, "issuer_unusable", "its keys cannot be had: %s", reason).WithField("issuer").WithCause(err)
	}
	return nil
}
