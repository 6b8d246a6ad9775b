//go:build long

package agents_test

const machineRuns = 1000
