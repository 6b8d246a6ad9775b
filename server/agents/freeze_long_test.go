//go:build long

package agents_test

import (
	"testing"

	"github.com/agentid-dev/agentid/server/ledger"
)

func TestFreezingARootOfTenThousand(t *testing.T) {
	w := newWorld(t)
	limitTenant(ledger.Limits{MaxLive: ledger.CapLive})(w, actor{})
	wide := w.mustStart("root-wide", "root", "").ref
	chains := w.plant(wide, "wide", 10_000, 1)
	t.Logf("wide, 10,000 descendants: frozen in %s, every one refused", w.frozenAtOnce(wide, chains, 1))
	deep := w.mustStart("root-deep", "root", "").ref
	chains = w.plant(deep, "deep", 300, ledger.CapDepth)
	t.Logf("300 chains of depth %d: frozen in %s, every one refused", ledger.CapDepth, w.frozenAtOnce(deep, chains, 1))
}
