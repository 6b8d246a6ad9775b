package engine

// Readable reports whether the read-only port passes a method on.
func Readable(method string) bool { return readMethods[method] }
