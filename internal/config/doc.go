// Package config owns the one YAML file that "agentid serve" reads: its shape, its
// named defaults and what is refused.
//
// Unknown keys are refused, problems are reported with file, line, key and what was
// expected, and secrets come by reference only (file: or env:). It opens no socket
// and no store.
package config
