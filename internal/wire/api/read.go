package api

import (
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
)

// reads is a body that comes with every operation: it is read from the tree that was
// parsed to hold it against the grammar, and not parsed once more. It takes what
// encoding/json takes without unknown fields, null aside; a property test holds the two
// against each other.
type reads interface {
	read(v strictjson.Value) error
}

// members calls one for each member of an object.
func members(v strictjson.Value, one func(name string, v strictjson.Value) error) error {
	all, ok := v.Members()
	if !ok {
		return agentid.Invalidf("", "want an object, have %s", v.Kind())
	}
	for _, m := range all {
		if err := one(m.Name, m.Value); err != nil {
			e := *agentid.AsError(err)
			if e.Field = m.Name + dotted(e.Field); e.Kind == agentid.KindInternal {
				e.Kind, e.Reason = agentid.KindInvalid, "invalid_request"
			}
			return &e
		}
	}
	return nil
}

func dotted(field string) string {
	if field == "" {
		return ""
	}
	return "." + field
}

func unknown() error { return agentid.Invalidf("", "is not known") }

// list reads an array.
func list[T any](v strictjson.Value, into *[]T, one func(v strictjson.Value, into *T) error) error {
	items, ok := v.Items()
	if !ok {
		return agentid.Invalidf("", "want an array, have %s", v.Kind())
	}
	*into = make([]T, len(items))
	for i := range items {
		if err := one(items[i], &(*into)[i]); err != nil {
			return err
		}
	}
	return nil
}

func text[T ~string](v strictjson.Value, into *T) error {
	s, ok := v.Text()
	if !ok {
		return agentid.Invalidf("", "want a string, have %s", v.Kind())
	}
	*into = T(s)
	return nil
}

func number[T ~int | ~int64](v strictjson.Value, into *T) error {
	n, err := v.Integer()
	if err != nil {
		return agentid.Invalidf("", "%s", err.Error())
	}
	*into = T(n)
	return nil
}

func flag(v strictjson.Value, into *bool) error {
	b, ok := v.Flag()
	if !ok {
		return agentid.Invalidf("", "want a boolean, have %s", v.Kind())
	}
	*into = b
	return nil
}

// unmarshaler is how refs, decisions and outcomes are read.
type unmarshaler interface{ UnmarshalText(text []byte) error }

func textual(v strictjson.Value, into unmarshaler) error {
	var s string
	if err := text(v, &s); err != nil {
		return err
	}
	if err := into.UnmarshalText([]byte(s)); err != nil {
		return agentid.Invalidf("", "cannot be read: %s", agentid.AsError(err).Message)
	}
	return nil
}

func instant(v strictjson.Value, into *time.Time) error {
	var s string
	if err := text(v, &s); err != nil {
		return err
	}
	if err := into.UnmarshalText([]byte(s)); err != nil {
		return agentid.Invalidf("", "want a time (RFC 3339)")
	}
	return nil
}

func (b *Batch) read(v strictjson.Value) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "durable":
			return flag(v, &b.Durable)
		case "records":
			return list(v, &b.Records, readRecord)
		default:
			return unknown()
		}
	})
}

func (e *Effects) read(v strictjson.Value) error {
	return members(v, func(name string, v strictjson.Value) error {
		if name != "calls" {
			return unknown()
		}
		return list(v, &e.Calls, readEffect)
	})
}

func readEffect(v strictjson.Value, e *Effect) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "reserve":
			e.Reserve = &wire.Reserve{}
			return readReserve(v, e.Reserve)
		case "settle":
			e.Settle = &wire.Settlement{}
			return readSettlement(v, e.Settle)
		default:
			return unknown()
		}
	})
}

func readReserve(v strictjson.Value, r *wire.Reserve) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "token":
			return textual(v, &r.Token)
		case "agent":
			return textual(v, &r.Agent)
		case "uses":
			return list(v, &r.Uses, readUse)
		case "idempotency_key":
			return text(v, &r.IdempotencyKey)
		case "request_digest":
			return text(v, &r.RequestDigest)
		case "hold_key":
			return text(v, &r.HoldKey)
		case "hold_amount":
			return number(v, &r.HoldAmount)
		case "record":
			return readRecord(v, &r.Record)
		case "deadline":
			return instant(v, &r.Deadline)
		default:
			return unknown()
		}
	})
}

func readUse(v strictjson.Value, u *wire.Use) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "token":
			return textual(v, &u.Token)
		case "capability":
			return text(v, &u.Capability)
		case "max":
			return number(v, &u.Max)
		default:
			return unknown()
		}
	})
}

func readSettlement(v strictjson.Value, s *wire.Settlement) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "id":
			return text(v, &s.ID)
		case "outcome":
			return textual(v, &s.Outcome)
		case "record":
			return readRecord(v, &s.Record)
		default:
			return unknown()
		}
	})
}

// readRecord reads an audit record: its texts here, what is more in readMore.
func readRecord(v strictjson.Value, r *auditlog.Record) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "id":
			return text(v, &r.ID)
		case "kind":
			return text(v, &r.Kind)
		case "phase":
			return text(v, &r.Phase)
		case "request":
			return text(v, &r.Request)
		case "tenant":
			return text(v, &r.Tenant)
		case "principal":
			return text(v, &r.Principal)
		case "agent":
			return text(v, &r.Agent)
		case "agent_type":
			return text(v, &r.AgentType)
		case "operation":
			return text(v, &r.Operation)
		case "resource":
			return text(v, &r.Resource)
		case "inputs_digest":
			return text(v, &r.InputsDigest)
		case "token":
			return text(v, &r.Token)
		case "policy_version":
			return text(v, &r.PolicyVersion)
		case "zookie":
			return text(v, &r.Zookie)
		case "reason":
			return text(v, &r.Reason)
		case "field":
			return text(v, &r.Field)
		default:
			return readMore(name, v, r)
		}
	})
}

func readMore(name string, v strictjson.Value, r *auditlog.Record) error {
	switch name {
	case "time":
		return instant(v, &r.Time)
	case "lineage":
		return list(v, &r.Lineage, text[string])
	case "epoch":
		return number(v, &r.Epoch)
	case "legs":
		return list(v, &r.Legs, readLeg)
	case "constraints":
		return list(v, &r.Constraints, readOutcome)
	case "decision":
		return textual(v, &r.Decision)
	case "upstream_status":
		return number(v, &r.UpstreamStatus)
	case "notes":
		r.Notes = map[string]string{}
		return members(v, func(name string, v strictjson.Value) error {
			var note string
			err := text(v, &note)
			r.Notes[name] = note
			return err
		})
	default:
		return unknown()
	}
}

func readLeg(v strictjson.Value, l *auditlog.Leg) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "name":
			return text(v, &l.Name)
		case "outcome":
			return text(v, &l.Outcome)
		default:
			return unknown()
		}
	})
}

func readOutcome(v strictjson.Value, o *auditlog.Outcome) error {
	return members(v, func(name string, v strictjson.Value) error {
		switch name {
		case "field":
			return text(v, &o.Field)
		case "kind":
			return text(v, &o.Kind)
		case "outcome":
			return text(v, &o.Outcome)
		default:
			return unknown()
		}
	})
}
