// Package peers pins what AgentID is measured beside, in a module of its own so that none
// of it enters the product: OPA, OpenFGA and SpiceDB as tools, and the adapter that people
// put between nginx and the latter two.
package peers
