// Package yamlfile reads YAML files strictly: an unknown key, a wrong type, an
// anchor or a tag is refused with the file, the line, the key and what was
// expected there.
//
// It owns positions: every problem that a reader or a later check finds is shown
// against the line it came from. What the values mean is the caller's.
package yamlfile
