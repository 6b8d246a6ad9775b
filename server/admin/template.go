package admin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

func (t *Template) name() (agentid.Ref, error) {
	return named(agentid.ResourceRef(KindTemplate, t.Tenant, t.Name))
}

func (t *Template) template() capability.Template {
	return capability.Template{
		Name: t.Name, Connector: t.Connector, Arguments: t.Arguments,
		Resource: t.Resource, Operations: t.Operations, Constraints: t.Limits,
	}
}

func (t *Template) check(ctx context.Context, w *world) error {
	if _, err := t.name(); err != nil {
		return err
	}
	if err := w.tenant(ctx, t.Tenant); err != nil {
		return err
	}
	if err := t.template().Validate(); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	connector, kind, err := w.connector(ctx, "connector", t.Tenant, t.Connector)
	if err != nil {
		return err
	}
	sample, err := t.template().Expand(t.Tenant, samples(t.Arguments))
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if sample.Resource.Type() == kind.AccountType {
		account, err := kind.AccountRef(t.Tenant, connector.Name)
		if err != nil || sample.Resource != account {
			return agentid.Invalidf("resource", "is not this connector's account")
		}
	}
	return operations(kind, connector.Name, sample)
}

// samples are arguments to try a template with.
func samples(arguments map[string]capability.Argument) map[string]any {
	out := make(map[string]any, len(arguments))
	for name, a := range arguments {
		switch {
		case a.Default != nil:
			out[name] = a.Default
		case len(a.OneOf) > 0:
			out[name] = a.OneOf[0]
		case a.Type == capability.ArgumentCurrency:
			out[name] = "usd"
		case a.Type != capability.ArgumentInteger:
			out[name] = "sample"
		default:
			out[name] = sampleInteger(a)
		}
	}
	return out
}

// sampleInteger is 1, or the nearest that the bounds admit.
func sampleInteger(a capability.Argument) int64 {
	n := int64(1)
	if a.Maximum != nil {
		n = min(n, *a.Maximum)
	}
	if a.Minimum != nil {
		n = max(n, *a.Minimum)
	}
	return n
}

func (t *Template) current(ctx context.Context, s *Service) (object, error) {
	have, err := s.cfg.Ledger.Template(ctx, t.Tenant, t.Name)
	if err != nil {
		return nil, absent(err)
	}
	out, err := templateOf(have)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func templateOf(t ledger.Template) (*Template, error) {
	var spec capability.Template
	if err := json.Unmarshal(t.Spec, &spec); err != nil {
		return nil, fmt.Errorf("template %s/%s: %w", t.Tenant, t.Name, err)
	}
	return &Template{
		Header:    Header{Kind: KindTemplate, Tenant: t.Tenant, Name: t.Name},
		Connector: spec.Connector, Arguments: spec.Arguments, Resource: spec.Resource, Operations: spec.Operations, Limits: spec.Constraints,
	}, nil
}

// edges: a template is in the ledger only.
func (t *Template) edges(context.Context, *Service) (edges, error) { return edges{}, nil }

func (t *Template) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	spec, err := json.Marshal(t.template())
	if err != nil {
		return false, fmt.Errorf("encode template: %w", err)
	}
	_, changed, err := s.cfg.Ledger.PutTemplate(ctx, ledger.Template{
		Tenant: t.Tenant, Name: t.Name, Connector: t.Connector, Spec: spec,
	}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
