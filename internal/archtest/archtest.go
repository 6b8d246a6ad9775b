// Package archtest holds the direction of imports between the rooms. It owns the
// rules and the detector; its tests run the detector over the module and prove
// that it fires.
package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// Module is the path that every room's import path begins with.
const Module = "github.com/agentid-dev/agentid"

// Package is what the rules need to know of one package.
type Package struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// Room is one top-level part and what it may import of the module.
type Room struct {
	Path   string   // below the module path; "" is the root package
	May    []string // rooms that it may import; its own sub-packages always
	Only   []string // when set: the only external modules that it may import
	Reason string
}

// Rooms is the one-way order: agentid, then capability and schema, then client, then
// federation, connectors and internal, then server and gateway, then cmd.
func Rooms() []Room {
	ground := []string{"", "capability", "schema"}
	middle := append([]string{"internal", "connectors", "federation"}, ground...)
	return []Room{
		{Path: "", Only: []string{"std"}, Reason: "the nouns depend on nothing"},
		{Path: "capability", May: []string{""}, Reason: "what a token means is pure: no I/O, no store, no broker key"},
		{Path: "client", May: []string{"", "capability"}, Reason: "agents' programs import it: nothing of the server's comes with it"},
		{Path: "schema", May: []string{""}, Reason: "the schema is data"},
		{Path: "internal", May: append([]string{"internal", "connectors", "client"}, ground...), Reason: "what both sides share knows neither side"},
		{Path: "connectors", May: append([]string{"internal"}, ground...), Reason: "a connector knows an API, not who enforces it"},
		{Path: "federation", May: append([]string{"internal"}, ground...), Reason: "a source of identity does not mint"},
		{Path: "server", May: middle, Reason: "the broker does not enforce: it never imports gateway"},
		{Path: "gateway", May: middle, Reason: "an enforcer cannot mint: it never imports server"},
		{Path: "loadtest", May: append([]string{"server", "gateway", "client"}, middle...), Reason: "load is put on the whole"},
		{Path: "cmd", May: append([]string{"server", "gateway", "loadtest", "deploy", "client"}, middle...), Reason: "all wiring is here"},
		{Path: "deploy", May: append([]string{"cmd", "client"}, middle...), Reason: "tests of what is shipped"},
		{Path: "docs", May: append([]string{"client"}, ground...), Reason: "examples stand alone"},
	}
}

// Violations lists every import that breaks a rule, one sentence each, sorted.
func Violations(packages []Package, rooms []Room) []string {
	var found []string
	for _, p := range packages {
		room, ok := roomOf(p.ImportPath, rooms)
		if !ok {
			found = append(found, p.ImportPath+" is in no room")
			continue
		}
		for _, imported := range p.Imports {
			if why := refuse(room, imported, rooms); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, why))
			}
		}
	}
	slices.Sort(found)
	return found
}

// Load asks the go command for all packages that the patterns match, without tests.
func Load(dir string, patterns ...string) ([]Package, error) {
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, patterns...)...) //nolint:gosec // fixed arguments of a test
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var packages []Package
	for dec := json.NewDecoder(out); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	return packages, cmd.Wait()
}

func refuse(room Room, imported string, rooms []Room) string {
	target, ours := roomOf(imported, rooms)
	if !ours {
		if len(room.Only) > 0 && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
			return room.Reason
		}
		return ""
	}
	if target.Path == room.Path || slices.Contains(room.May, target.Path) {
		return ""
	}
	return room.Reason
}

// roomOf finds the room of an import path by its first element below the module.
func roomOf(importPath string, rooms []Room) (Room, bool) {
	if importPath != Module && !strings.HasPrefix(importPath, Module+"/") {
		return Room{}, false
	}
	top, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(importPath, Module), "/"), "/")
	i := slices.IndexFunc(rooms, func(r Room) bool { return r.Path == top })
	if i < 0 {
		return Room{}, false
	}
	return rooms[i], true
}
