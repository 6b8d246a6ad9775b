// Package egress is how the product speaks to addresses that somebody else names:
// upstreams, identity providers, key sets. Its Dialer connects to public addresses only
// and to the very address that it looked at; its Client adds what a document from a
// stranger needs: no redirect, a total timeout, a bound on the body, https.
//
// It owns egress. What is asked, and what an answer means, is its caller's.
package egress
