package issue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Templates finds capability templates of a tenant: KindNotFound if there is none.
type Templates interface {
	Template(ctx context.Context, tenant, name string) (ledger.Template, error)
}

// rememberedTemplates bounds the templates that are kept as they were read.
const rememberedTemplates = 4096

type templateKey struct{ tenant, name string }

// template is Template, remembered while no template is written. It is not changed.
func (m *Mint) template(ctx context.Context, tenant string, allowed []string, name string) (capability.Template, error) {
	t, err := m.templates.Get(ctx, m.templates.Now(), templateKey{tenant, strings.Clone(name)}, func(ctx context.Context) (capability.Template, error) {
		return readTemplate(ctx, m.cfg.Ledger, tenant, name)
	})
	if err != nil {
		return capability.Template{}, err
	}
	return t, mayUse(allowed, name)
}

// Template reads a template that an agent type may use: allowed names those, empty all.
// KindInvalid template_unknown and KindForbidden template_not_of_type name the field.
func Template(ctx context.Context, templates Templates, tenant string, allowed []string, name string) (capability.Template, error) {
	t, err := readTemplate(ctx, templates, tenant, name)
	if err != nil {
		return capability.Template{}, err
	}
	return t, mayUse(allowed, name)
}

func mayUse(allowed []string, name string) error {
	if len(allowed) > 0 && !slices.Contains(allowed, name) {
		return agentid.Errorf(agentid.KindForbidden, "template_not_of_type", "agents of this type may not use the template").WithField("template")
	}
	return nil
}

func readTemplate(ctx context.Context, templates Templates, tenant, name string) (capability.Template, error) {
	var t capability.Template
	stored, err := templates.Template(ctx, tenant, name)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return t, agentid.Errorf(agentid.KindInvalid, "template_unknown", "there is no such template").WithField("template")
	}
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(stored.Spec, &t); err != nil {
		return t, fmt.Errorf("issue: template %s of %s does not decode: %w", name, tenant, err)
	}
	t.Connector = stored.Connector
	return t, nil
}
