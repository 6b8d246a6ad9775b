package main

import (
	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

func newAgentType() *cobra.Command {
	return group{
		use: "agent-type", plural: "a tenant's agent types", short: "Agent types: what policy attaches to; declare them with agentid apply",
		typ: agentid.TypeAgentType, segment: "agent-types",
		columns: []string{"tenant", "name", "state", "own_authority", "launchers"}, freezes: true, deletes: true,
	}.command(&connection{})
}
