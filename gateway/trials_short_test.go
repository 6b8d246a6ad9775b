//go:build !long

package gateway_test

// trials of TestNothingIsAllowedAfterTheReturn; ten thousand with the tag long.
const trials = 1_000
