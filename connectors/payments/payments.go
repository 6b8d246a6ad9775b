// Package payments holds the manifest of the payments connector: refunds and a few
// reads in the shape of Stripe's API. It owns the description, not its meaning,
// which is package connectors.
package payments

import _ "embed"

// Manifest is the connector's description, for connectors.Compile.
//
//go:embed manifest.yaml
var Manifest []byte
