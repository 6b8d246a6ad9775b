// Package compare measures AgentID beside what people assemble otherwise, in one run on
// one machine.
//
// Each stack is first qualified: it must answer an allowed, a forbidden, an expired, a
// misdirected and a revoked request rightly, or the report says that it does not enforce
// that. Then all take turns in short slices, there and back (A B C C B A), so that a
// machine that slows down slows all of them. CPU is read from the system for all
// processes of a stack, its sidecars included.
//
// It owns the stacks, the probes, the slices and the arithmetic. It draws nothing.
package compare
