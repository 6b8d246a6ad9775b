package server

import (
	_ "embed"
	"fmt"

	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the OpenAPI 3.1 document of the broker, merged with further documents:
// their paths, tags and components are added. A path or component that is already
// there is an error, so that no document can replace another's.
func OpenAPI(more ...[]byte) ([]byte, error) {
	merged, err := decodeDocument(openAPI)
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	for i, text := range more {
		doc, err := decodeDocument(text)
		if err != nil {
			return nil, fmt.Errorf("further document %d: %w", i, err)
		}
		if err := mergeDocument(merged, doc); err != nil {
			return nil, fmt.Errorf("further document %d: %w", i, err)
		}
	}
	out, err := yaml.Marshal(merged)
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return out, nil
}

func decodeDocument(text []byte) (map[string]any, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	return doc, nil
}

func mergeDocument(into, from map[string]any) error {
	if tags, ok := from["tags"].([]any); ok {
		have, _ := into["tags"].([]any)
		into["tags"] = append(have, tags...)
	}
	if err := addTo(into, from, "paths"); err != nil {
		return err
	}
	components, _ := from["components"].(map[string]any)
	target, _ := into["components"].(map[string]any)
	for section := range components {
		if err := addTo(target, components, section); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds the members of from[section] to into[section]. Equal members may meet.
func addTo(into, from map[string]any, section string) error {
	source, ok := from[section].(map[string]any)
	if !ok {
		return nil
	}
	target, ok := into[section].(map[string]any)
	if !ok {
		target = make(map[string]any, len(source))
		into[section] = target
	}
	for name, value := range source {
		if have, there := target[name]; there && !sameYAML(have, value) {
			return fmt.Errorf("%s %q is defined twice", section, name)
		}
		target[name] = value
	}
	return nil
}

func sameYAML(a, b any) bool {
	x, errA := yaml.Marshal(a)
	y, errB := yaml.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}
