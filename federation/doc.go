// Package federation is who is calling, as somebody outside says it: a workload platform,
// a trust domain, an identity provider. A Source verifies what was presented under its own
// standard and gives an Identity; a Trace tells step by step how that went.
//
// It owns the nouns that all sources share, the flat form of claims, and how a rule's
// claims match them. Each source is a package below; the keys of an issuer are keyset's.
// Whether an identity may do anything here, and as which agent or principal, is the
// server's: nothing in this room mints.
package federation
