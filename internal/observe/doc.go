// Package observe sets up what an operator sees of a running AgentID: log lines,
// metrics and traces.
//
// It owns the list of log keys, the metrics registry, the trace exporter and the
// line that is written for each request. It owns no event: what is worth a line is
// decided where it happens. Headers, bodies and query strings never reach a line, a
// label or a span made here.
package observe
