// Package local brings up what a run on this machine needs: an upstream that costs as
// little as an upstream can, "agentid serve" as a process of its own, and in it tenants,
// lineages of agents and a policy.
//
// It owns that world and the processes in it. It sends no load.
package local
