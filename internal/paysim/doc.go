// Package paysim is a stateful payments simulator that speaks Stripe's wire
// format: customers, charges, payment intents, subscriptions and refunds, form
// encoded requests, Stripe-shaped errors and replay by Idempotency-Key.
//
// It owns an upstream that demos and tests can trust: it counts each refund that
// took effect, and accepts one secret key only, so that a request which arrives
// with any other credential fails. It holds its state in memory, moves no money
// and is no part of the broker or of the gateway.
package paysim
