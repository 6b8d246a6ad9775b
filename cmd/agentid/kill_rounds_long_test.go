//go:build long

package main

// killRounds: fourteen steps each.
const killRounds = 400
