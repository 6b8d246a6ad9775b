// Package scenario is what to send: YAML files that say which load a run puts on AgentID,
// and the built-in ones.
//
// It owns the format and its validation, with the line of each fault. It sends nothing.
package scenario
