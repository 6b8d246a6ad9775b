// Package httpx holds what every HTTP surface of AgentID does the same way: server
// settings that bound a peer, bodies read under a cap, forms parsed without
// ambiguity, request ids, a recover middleware that leaks nothing, and JSON that
// nobody may store.
//
// It owns no route, no status of 400 or above (internal/httperr does) and no policy.
package httpx
