// Package connectors describes downstream APIs to the broker and the gateway: which
// request is which operation, what its inputs are, which resource it touches, what
// has to be asked of the upstream to know that, and which headers and credential it
// travels with. A description is a YAML manifest, compiled strictly by Compile.
//
// The package does no I/O and takes no decision: it parses what an agent sent as the
// upstream would, and says what policy must be asked. Who asks, forwards and holds
// the credential is package gateway.
package connectors
