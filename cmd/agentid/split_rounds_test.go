//go:build !long

package main

// splitTrials is how often something is taken away under four gateways.
const splitTrials = 100

// stormTrials is how often for each way to mistreat the stream.
const stormTrials = 4

// brokerKills is how often the broker dies at each step.
const brokerKills = 1
