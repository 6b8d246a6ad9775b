//go:build !long

package admin_test

// bulkAgents are revoked at once; with -tags long 10,000.
const bulkAgents = 300
