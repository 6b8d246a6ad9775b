package main

import "github.com/spf13/cobra"

func newTemplate() *cobra.Command {
	return group{
		use: "template", plural: "a tenant's templates", short: "Capability templates; declare them with agentid apply",
		typ: "template", segment: "templates",
		columns: []string{"tenant", "name", "connector", "operations", "resource"}, deletes: true,
	}.command(&connection{})
}
