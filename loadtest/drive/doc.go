// Package drive carries a scenario out against a deployment, and says what came of it.
//
// It owns the requests of each operation and what each is expected to be answered, the
// tokens that they carry, and the measurements around them. What is expected is part of
// it: a request that is allowed where it must be refused fails the run, however fast it was.
package drive
