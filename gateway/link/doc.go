// Package link is a gateway's side of the internal API: it stands for the broker's
// settings, effects and audit log, and keeps the gateway's View true by the broker's
// event stream and lease.
//
// It owns the connection: certificates that are renewed under it, what is tried again
// and what is not, and what a refusal means for this process. What an event does is
// gateway/freshness's; the shapes are internal/wire/api's. An unreachable broker is
// KindUnavailable "broker_unreachable", and never a yes.
package link
