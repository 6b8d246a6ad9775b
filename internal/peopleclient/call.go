package peopleclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/agentid-dev/agentid/client/refusal"
)

// Call sends in (nil: no body) as JSON to an endpoint of people, and reads the answer into
// out (nil: ignored). path begins below /people/v1. Errors: *refusal.Refusal, or a failure
// to reach the broker.
func (s Session) Call(ctx context.Context, client *http.Client, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.Issuer+"/people/v1"+path, body)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Access)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := refusal.Do(client, req)
	if err != nil {
		return err
	}
	if answer.Status >= http.StatusBadRequest {
		return refusal.Read(answer.Status, answer.Body)
	}
	if out == nil || len(answer.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return fmt.Errorf("the broker's answer: %w", err)
	}
	return nil
}
