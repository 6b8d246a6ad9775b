// Package report shows results to people: tables for a terminal, and one HTML file with
// drawings that needs nothing beside it, no script, no font, no other host.
//
// It owns how results look. It measures nothing and judges nothing: verdicts are in the
// results.
package report
