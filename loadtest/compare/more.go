package compare

import (
	"context"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid/loadtest/local"
)

// previews are reads with an amount that was never asked for: what is remembered answers
// none of them whole. The bare proxy gets the same requests.
func (o *ours) previews(_ context.Context, n int) ([][]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([][]byte, n)
	for i := range out {
		o.sequence++
		agent := o.sequence % len(o.tenant.Agents)
		out[i] = message(http.MethodPost, "/v1/invoices/create_preview", o.host,
			local.PreviewForm(o.tenant.Agents[agent].Customer, int64(o.sequence)),
			"Authorization: Bearer "+o.tokens[agent].Access.Reveal())
	}
	return out, nil
}

// The lineages whose cost is compared: as many agents on both sides.
const (
	deepest  = 32
	lineages = 8
)

// shallowReads are those of the first agents, which have no ancestor.
func (o *ours) shallowReads(context.Context, int) ([][]byte, error) { return o.bearer[:lineages], nil }

// deepReads are the same reads by agents below 31 ancestors of the same tenant. They are
// registered the first time.
func (o *ours) deepReads(ctx context.Context, _ int) ([][]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deep != nil {
		return o.deep, nil
	}
	out := make([][]byte, lineages)
	err := spread2(ctx, lineages, func(ctx context.Context, i int) error {
		a, err := o.d.Lineage(ctx, o.tenant, i, deepest, time.Now().Add(time.Hour))
		if err != nil {
			return err //nolint:wrapcheck // says what failed
		}
		token, err := a.Mint(ctx, a.Request(o.tenant, true, local.TemplateRead, local.TemplatePreview, local.TemplateRefund))
		out[i] = o.read(i, token.Access)
		return err //nolint:wrapcheck // a Refusal
	})
	if err == nil {
		o.deep = out
	}
	return out, err
}

// slope holds an agent of a deep lineage against one without ancestors, in one process and
// one tenant.
func (f *field) slope() workload {
	our := f.stacks[StackOurs]
	return workload{LoadDepth, 16, []entry{
		{stack: our, as: StackOurs + ", lineage of 1", requests: f.ours.shallowReads},
		{stack: our, as: StackOurs + ", lineage of 32", requests: f.ours.deepReads, aim: 1 / mostCPUDepth, mostCPU: mostCPUDepth},
	}}
}
