// Package proc runs the processes that are measured and reads from the system what they
// use.
//
// It owns starting, waiting for readiness, ending, and /proc. Each process leads a process
// group, so that workers and sidecars that it starts count with it and end with it.
package proc
