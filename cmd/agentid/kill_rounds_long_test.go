//go:build long

package main

// killRounds: twelve steps each.
const killRounds = 400
