//go:build !long

package server_test

// liveTokens are how many are issued when a revocation is measured; with -tags long
// 100,000 as well.
var liveTokens = []int{100, 1_000}

const revocations = 50
