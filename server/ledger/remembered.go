package ledger

import (
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// rememberedSecrets bounds the secrets' hashes that are kept in memory.
const rememberedSecrets = 16384

// generations count the writes that may have changed what the hot paths remember of the
// ledger. All tables that such a value is read from are named here.
type generations struct {
	clients, templates, enrolments, secrets *sqlitedb.Generation
}

// watch is called before anything is written.
func (l *Ledger) watch() (err error) {
	l.generations = generations{
		clients:    l.db.Watch("agents", "agent_types", "principals"),
		templates:  l.db.Watch("templates"),
		enrolments: l.db.WatchSets("workload_issuers", "enrolment_rules"), // RulesOf is a set
		secrets:    l.db.Watch("secrets"),
	}
	l.secrets, err = recall.New[secretKey, knownSecret](rememberedSecrets, l.generations.secrets)
	return err
}

// ClientChanges counts what may have changed what Agent, Lineage, AgentType and Principal
// give. Its count may stand beside a Basis: see Issue.
func (l *Ledger) ClientChanges() recall.Generation { return l.generations.clients }

// TemplateChanges counts what may have changed what Template gives.
func (l *Ledger) TemplateChanges() recall.Generation { return l.generations.templates }

// EnrolmentChanges counts what may have changed what WorkloadIssuerByName and RulesOf give.
func (l *Ledger) EnrolmentChanges() recall.Generation { return l.generations.enrolments }
