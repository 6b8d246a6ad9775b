//go:build !long

package graphstore_test

const killRounds = 12
