//go:build !long

package agents_test

// machineRuns is how many sequences of steps the state machine goes through.
const machineRuns = 25
