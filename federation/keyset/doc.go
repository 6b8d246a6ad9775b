// Package keyset holds the public keys of one issuer and verifies signatures by them. The
// keys come from a JWK Set URL, from the one that the issuer's discovery document names,
// or from a document that was given.
//
// It owns when keys are fetched: at the first use, when they are old, when a token names a
// key that is not there; never more often than once per interval, by whoever asks, and by
// all who wait together. Keys that were fetched serve while the issuer cannot be reached,
// until they are too old: then the answer is an outage with the time to try again, and the
// first fetch that succeeds ends it. Which keys are good enough is capability/jws's; what
// a claim means, and whether the issuer is trusted, is the caller's.
package keyset
