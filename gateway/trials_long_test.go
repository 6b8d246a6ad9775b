//go:build long

package gateway_test

const trials = 10_000
