// Package spiffe takes SVIDs of one trust domain: JWT-SVIDs, and X.509-SVIDs of a TLS
// connection. The trust domain's bundle comes from the Workload API, a bundle endpoint or a
// file.
//
// It owns the rules of the SPIFFE standards that go-spiffe leaves to its caller: the length
// of ids, the bare header, one audience, a bundle that never goes back. Keys of a trust
// domain speak for that trust domain only: which source is asked is decided by the trust
// domain in the id, before any signature is looked at.
package spiffe
