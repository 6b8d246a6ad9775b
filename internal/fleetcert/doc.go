// Package fleetcert owns the certificates by which brokers and gateways know each
// other: a small authority of one's own, what a certificate says about its holder, and
// the files that they are read from again after a renewal.
//
// A holder's name stands in URI subject alternative names:
//
//	agentid://<cluster>/broker
//	agentid://<cluster>/gateway/<name>
//	agentid://<cluster>/connector/<tenant>/<name>   what a gateway may serve
//	agentid://<cluster>/connectors                  all of them
//
// Certificates of another authority are taken where the broker's configuration lists
// which of their names is which gateway. It decides nothing about requests.
package fleetcert
