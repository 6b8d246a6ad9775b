package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
)

// room is what a record comes to with what stands around it, in bytes.
const room = 1280

// Encode writes a body: what comes with every operation by hand, anything else as
// encoding/json does.
func Encode(v any) ([]byte, error) {
	switch body := v.(type) {
	case Batch:
		return body.encode()
	case Effects:
		return body.encode()
	default:
		return json.Marshal(v)
	}
}

func (b Batch) encode() ([]byte, error) {
	out := fmt.Appendf(make([]byte, 0, room*(len(b.Records)+1)), `{"durable":%t,"records":[`, b.Durable)
	for i := range b.Records {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = b.Records[i].AppendJSON(out); err != nil {
			return nil, err //nolint:wrapcheck // says what failed
		}
	}
	return append(out, `]}`...), nil
}

func (e Effects) encode() ([]byte, error) {
	out := append(make([]byte, 0, 2*room*(len(e.Calls)+1)), `{"calls":[`...)
	for i, call := range e.Calls {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		switch {
		case call.Reserve != nil && call.Settle == nil:
			out, err = appendCall(out, "reserve", headOf(call.Reserve), &call.Reserve.Record)
		case call.Settle != nil && call.Reserve == nil:
			out, err = appendCall(out, "settle", settlementHead{call.Settle.ID, call.Settle.Outcome}, &call.Settle.Record)
		default:
			err = agentid.Errorf(agentid.KindInternal, "internal", "an effect that is neither or both")
		}
		if err != nil {
			return nil, err
		}
	}
	return append(out, `]}`...), nil
}

// appendCall writes {"name":{…head,"record":record}}.
func appendCall(out []byte, name string, head any, r *auditlog.Record) ([]byte, error) {
	data, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	out = append(append(append(out, `{"`...), name...), `":`...)
	out = append(append(out, data[:len(data)-1]...), `,"record":`...)
	if out, err = r.AppendJSON(out); err != nil {
		return nil, err //nolint:wrapcheck // says what failed
	}
	return append(out, `}}`...), nil
}

// reserveHead is a wire.Reserve without its record.
type reserveHead struct {
	Token          agentid.Ref `json:"token"`
	Agent          agentid.Ref `json:"agent"`
	Uses           []wire.Use  `json:"uses,omitempty"`
	IdempotencyKey string      `json:"idempotency_key,omitempty"`
	RequestDigest  string      `json:"request_digest,omitempty"`
	HoldKey        string      `json:"hold_key,omitempty"`
	HoldAmount     int64       `json:"hold_amount,omitempty"`
	Deadline       time.Time   `json:"deadline"`
}

func headOf(r *wire.Reserve) reserveHead {
	return reserveHead{r.Token, r.Agent, r.Uses, r.IdempotencyKey, r.RequestDigest, r.HoldKey, r.HoldAmount, r.Deadline}
}

// settlementHead is a wire.Settlement without its record.
type settlementHead struct {
	ID      string       `json:"id"`
	Outcome wire.Outcome `json:"outcome"`
}
