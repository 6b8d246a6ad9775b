package scenario

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed builtin/*.yaml
var files embed.FS

// Names lists the built-in scenarios.
func Names() []string {
	entries, err := files.ReadDir("builtin")
	if err != nil {
		return nil // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Builtin is a built-in scenario by its name.
func Builtin(name string) (Scenario, error) {
	data, err := files.ReadFile(path.Join("builtin", name+".yaml"))
	if err != nil {
		return Scenario{}, fmt.Errorf("there is no built-in scenario %q: have %s, or give a file", name, strings.Join(Names(), ", "))
	}
	return Parse(name+".yaml", data)
}
