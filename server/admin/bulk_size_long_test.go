//go:build long

package admin_test

const bulkAgents = 10_000
