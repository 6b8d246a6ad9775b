// Package schema owns the SpiceDB schema: the base fragment, the built-in connectors'
// fragments, how fragments become one text, the digest of that text, its names as Go
// constants, and stories in YAML that say what must hold and what must not.
//
// It knows no relationships of any tenant, opens no datastore and decides nothing. One
// permission alone is never a decision: internal/policy asks all that belong together.
package schema
