package admin

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/sources"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/ledger"
)

// WorkloadIssuer is whose word about workloads a tenant takes.
type WorkloadIssuer struct {
	Header
	Type   string `json:"type"`   // kubernetes, github, gcp, azure, aws, aws_caller, spiffe, oidc
	Issuer string `json:"issuer"` // exactly as its tokens have it; of SPIFFE "spiffe://" and the trust domain
	// Where its keys are, at most one; none: where its discovery document says.
	KeysURL     string          `json:"jwks_uri,omitempty"`
	Keys        json.RawMessage `json:"jwks,omitempty"`
	BundleURL   string          `json:"bundle_url,omitempty"`   // SPIFFE bundle endpoint
	BundleFile  string          `json:"bundle_file,omitempty"`  // path at the broker
	WorkloadAPI string          `json:"workload_api,omitempty"` // "unix:///run/spire/agent.sock" at the broker
	Endpoint    string          `json:"endpoint,omitempty"`     // aws_caller: where STS is asked instead

	MaxStaleSeconds int64 `json:"max_stale_seconds,omitempty"` // how long keys serve while the issuer is down
	AllowPrivate    bool  `json:"allow_private,omitempty"`     // loopback and private addresses
}

// Workloads is enrol.Service.
type Workloads interface {
	// Try judges an issuer before it is added: KindInvalid names the field and what is
	// wrong, such as documents that cannot be had.
	Try(ctx context.Context, setting sources.Setting) error
	// Admit tells step by step what a token resolves to. It writes nothing.
	Admit(ctx context.Context, r enrol.Request) (enrol.Admission, *federation.Trace, error)
}

func (o *WorkloadIssuer) name() (agentid.Ref, error) {
	return named(agentid.ResourceRef(KindWorkloadIssuer, o.Tenant, o.Name))
}

func (o *WorkloadIssuer) row() (ledger.WorkloadIssuer, error) {
	ref, err := o.name()
	return ledger.WorkloadIssuer{
		Ref: ref, Kind: o.Type, Issuer: o.Issuer, KeysURL: o.KeysURL, Keys: o.Keys, BundleURL: o.BundleURL, BundleFile: o.BundleFile,
		WorkloadAPI: o.WorkloadAPI, Endpoint: o.Endpoint, AllowPrivate: o.AllowPrivate, MaxStale: time.Duration(o.MaxStaleSeconds) * time.Second,
	}, err
}

func (o *WorkloadIssuer) check(ctx context.Context, w *world) error {
	row, err := o.row()
	if err != nil {
		return err
	}
	if err := w.tenant(ctx, o.Tenant); err != nil {
		return err
	}
	if err := sources.Check(enrol.SettingOf(row)); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if w.s.cfg.Workloads == nil {
		return agentid.Invalidf("kind", "this broker takes no workloads")
	}
	have, err := o.current(ctx, w.s)
	if err != nil {
		return err
	}
	if fields, err := differences(have, o); err != nil || have != nil && len(fields) == 0 {
		return err // it is as it was: an outage of the issuer is no fault of the set
	}
	return w.s.cfg.Workloads.Try(ctx, enrol.SettingOf(row)) //nolint:wrapcheck // names the field
}

func (o *WorkloadIssuer) current(ctx context.Context, s *Service) (object, error) {
	have, err := s.cfg.Ledger.WorkloadIssuer(ctx, o.Tenant, o.Name)
	if err != nil {
		return nil, absent(err)
	}
	return workloadIssuerOf(have), nil
}

func workloadIssuerOf(w ledger.WorkloadIssuer) *WorkloadIssuer {
	return &WorkloadIssuer{
		Header: Header{Kind: KindWorkloadIssuer, Tenant: w.Ref.Tenant(), Name: w.Ref.Name()},
		Type:   w.Kind, Issuer: w.Issuer, KeysURL: w.KeysURL, Keys: w.Keys, BundleURL: w.BundleURL, BundleFile: w.BundleFile,
		WorkloadAPI: w.WorkloadAPI, Endpoint: w.Endpoint, MaxStaleSeconds: int64(w.MaxStale / time.Second), AllowPrivate: w.AllowPrivate,
	}
}

// edges: an issuer is in the ledger only.
func (*WorkloadIssuer) edges(context.Context, *Service) (edges, error) { return edges{}, nil }

func (o *WorkloadIssuer) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	row, err := o.row()
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutWorkloadIssuer(ctx, row, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
