//go:build long

package server_test

var liveTokens = []int{1_000, 100_000}

const revocations = 300
