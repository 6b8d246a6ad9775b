package gateway

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/forward"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// route is one connector, ready to be used.
type route struct {
	wire.Connector
	kind     *connectors.Kind
	host     string // of Resource, lower case, with its port if it has one
	name     string // of Ref
	account  agentid.Ref
	upstream forward.Upstream
	refs     []agentid.Ref // the connector's own
	rests    policy.Rests  // of refs
}

// table finds the connector of a host. It is compiled again when a connector's
// version or the set of connectors changes.
type table struct {
	kinds  map[string]*connectors.Kind
	view   *freshness.View
	latest atomic.Pointer[compiled]
}

type compiled struct {
	from   []wire.Connector
	byHost map[string]*route
}

// route gives the connector served under host, KindNotFound "connector_unknown" when
// there is none.
func (t *table) route(ctx context.Context, fleet wire.Fleet, host string) (*route, error) {
	list, err := fleet.Connectors(ctx)
	if err != nil {
		return nil, err
	}
	c := t.latest.Load()
	if c == nil || !wire.SameList(c.from, list) {
		if c == nil || !slices.EqualFunc(c.from, list, same) {
			c = t.compile(list)
		} else {
			c = &compiled{from: list, byHost: c.byHost}
		}
		t.latest.Store(c)
	}
	r, ok := c.byHost[strings.ToLower(host)]
	if !ok {
		return nil, unknownConnector()
	}
	return r, nil
}

func same(a, b wire.Connector) bool { return a.Ref == b.Ref && a.Version == b.Version }

// compile leaves out what it cannot serve, and a host that two connectors claim: which
// of them is meant is not for a guess.
func (t *table) compile(list []wire.Connector) *compiled {
	c := &compiled{from: list, byHost: make(map[string]*route, len(list))}
	claimed := map[string]bool{}
	for _, connector := range list {
		r, ok := t.one(connector)
		if !ok {
			continue
		}
		if claimed[r.host] {
			delete(c.byHost, r.host)
			continue
		}
		claimed[r.host] = true
		c.byHost[r.host] = r
	}
	return c
}

func (t *table) one(connector wire.Connector) (*route, bool) {
	kind, known := t.kinds[connector.Kind]
	resource, err := url.Parse(connector.Resource)
	if !known || err != nil || resource.Host == "" || connector.IntrospectionOnly {
		return nil, false
	}
	base, err := url.Parse(connector.Upstream)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.User != nil {
		return nil, false
	}
	account, err := kind.AccountRef(connector.Ref.Tenant(), connector.Ref.Name())
	if err != nil {
		return nil, false
	}
	refs := []agentid.Ref{connector.Ref}
	return &route{
		refs: refs, rests: t.view.Rests(refs),
		Connector: connector, name: connector.Ref.String(), kind: kind, host: strings.ToLower(resource.Host), account: account,
		upstream: forward.Upstream{Base: base, AllowPrivate: connector.AllowPrivateUpstream, Kind: kind, Secret: connector.Credential},
	}, true
}
