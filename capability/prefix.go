package capability

import "strings"

// underPrefix says whether path is prefix or lies below it. Both are paths of
// segments joined by '/': the prefix "kv/app" holds "kv/app" and "kv/app/x", not
// "kv/apple"; "kv/app/" holds what lies below only. A path that is not clean is
// below nothing.
func underPrefix(path, prefix string) bool {
	if !cleanPath(path) || !strings.HasPrefix(path, prefix) {
		return false
	}
	return len(path) == len(prefix) || strings.HasSuffix(prefix, "/") || path[len(prefix)] == '/'
}

// cleanPath refuses what an upstream could read as another path: the segments ""
// (except at either end), "." and "..", backslash, percent sign, control characters.
func cleanPath(s string) bool {
	if !isText(s) || strings.ContainsAny(s, `\%`) {
		return false
	}
	inner := strings.TrimSuffix(strings.TrimPrefix(s, "/"), "/")
	if inner == "" {
		return s == "/"
	}
	for segment := range strings.SplitSeq(inner, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}
