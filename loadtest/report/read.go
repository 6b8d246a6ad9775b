package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/agentid-dev/agentid/loadtest/compare"
	"github.com/agentid-dev/agentid/loadtest/drive"
)

// errKind is a file that holds no result.
var errKind = errors.New(`is not a result of "agentid loadtest": want kind "run" or "compare"`)

// Read tells a result's kind and decodes it: *drive.Result or *compare.Result.
func Read(data []byte) (any, error) {
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	var into any
	switch head.Kind {
	case "run":
		into = &drive.Result{}
	case "compare":
		into = &compare.Result{}
	default:
		return nil, errKind
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(into); err != nil {
		return nil, fmt.Errorf("is a result of another version: %w", err)
	}
	return into, nil
}
