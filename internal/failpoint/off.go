//go:build !failpoint

// Package failpoint lets crash tests kill the program between two steps. It owns
// nothing at run time: without the build tag failpoint every call is empty.
package failpoint

// Hit marks a step, such as "mint.signed". It does nothing in a normal build.
func Hit(string) {}
