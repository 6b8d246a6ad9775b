//go:build !long

package ledger_test

const killRounds = 40
