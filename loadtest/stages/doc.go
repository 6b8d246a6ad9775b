// Package stages holds a benchmark for every stage of the gateway's pipeline and of the
// mint, and the number of allocations that each may make (allocations.json).
//
// Allocations hardly differ between machines, so a test compares them; times do, so none
// is judged. After a change that is meant: go test ./loadtest/stages -update.
package stages
