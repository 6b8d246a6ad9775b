package deploy_test

import (
	"io/fs"
	"slices"
)

// sources is a repository without what a build does not read.
type sources struct{ fs.FS }

// ReadDir implements fs.ReadDirFS.
func (s sources) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return e.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "artifacts", "tools", "node_modules"}, e.Name())
		})
	}
	return entries, err
}
