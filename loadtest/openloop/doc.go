// Package openloop sends at a constant rate and measures each request from the moment at
// which it was meant to be sent, so that a server that stalls is charged for everyone who
// would have waited (what coordinated omission hides).
//
// It owns the schedule, the senders and the histograms. It knows nothing of HTTP: what a
// request is, the caller's Do says.
package openloop
