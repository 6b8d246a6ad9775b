package auditlog

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
)

// Entry is a record that may be appended: checked, cleaned, encoded. It is made by
// Prepare only; the zero Entry is refused.
type Entry struct {
	record Record
	framed []byte // frameHead bytes for the journal, then the canonical form
}

// Encoded is the canonical form, one line of JSON: the future leaf of the Merkle tree.
func (e Entry) Encoded() []byte { return e.framed[min(frameHead, len(e.framed)):] }

// Record is the record as it will be read back, without its Seq.
func (e Entry) Record() Record { return e.record }

// Prepare checks a record, gives it an id and a time, cleans every text and encodes
// it. An error is KindInternal "audit_record_invalid": the caller must not go on with
// what it wanted to record.
func Prepare(r Record, now time.Time) (Entry, error) {
	if err := check(r); err != nil {
		return Entry{}, err
	}
	clean(&r)
	return seal(r, now)
}

// FinishUnknown makes the finish of a begin that was read from the log, for an effect
// whose outcome nobody reported.
func FinishUnknown(begin Record, now time.Time) (Entry, error) {
	r := begin // its texts are clean already
	r.ID, r.Seq, r.Time = "", 0, time.Time{}
	r.Phase, r.Reason, r.UpstreamStatus = Finish, "outcome_unknown", 0
	return seal(r, now)
}

// Decode reads the canonical form.
func Decode(encoded []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(encoded, &r); err != nil {
		return Record{}, fmt.Errorf("auditlog: decode: %w", err)
	}
	return r, nil
}

func seal(r Record, now time.Time) (Entry, error) {
	if r.ID == "" {
		r.ID = newID()
	}
	if r.Time.IsZero() {
		r.Time = now
	}
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	framed, err := encode(make([]byte, frameHead, roomy), r)
	if err != nil {
		return Entry{}, fmt.Errorf("auditlog: encode: %w", err)
	}
	if n := len(framed) - frameHead; n > MaxEncoded {
		return Entry{}, invalid("the record has %d bytes", n)
	}
	r.named = nil
	return Entry{record: r, framed: framed}, nil
}

// newID is unique and no secret: 128 bits of the runtime's ChaCha8, in hexadecimal.
func newID() string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], rand.Uint64())  //nolint:gosec // not a secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // not a secret
	var text [2 * len(id)]byte
	hex.Encode(text[:], id[:])
	return string(text[:])
}

func check(r Record) error {
	switch r.Kind {
	case Operation, Issue, Revoke, Admin, Authn:
	default:
		return invalid("kind %q is unknown", Clean(string(r.Kind), MaxLabel))
	}
	switch r.Phase {
	case Single:
	case Begin, Finish:
		if r.Request == "" {
			return invalid("phase %s without a request", r.Phase)
		}
	default:
		return invalid("phase %q is unknown", Clean(string(r.Phase), MaxLabel))
	}
	if r.Decision != Allow && r.Decision != Deny {
		return invalid("decision %d is unknown", r.Decision)
	}
	if y := r.Time.Year(); !r.Time.IsZero() && (y < 1970 || y > 9999) {
		return invalid("time is out of range")
	}
	return nil
}

// clean rewrites every text in r. A slice or map that needs no change is kept, else copied;
// none is changed in place.
func clean(r *Record) {
	if !r.named.stand(r) {
		r.named = nil
		cleanNames(r)
	}
	for _, s := range [...]*string{
		&r.ID, &r.Request, &r.Operation, &r.Resource,
		&r.InputsDigest, &r.Token, &r.PolicyVersion, (*string)(&r.Zookie), &r.Reason, &r.Field,
	} {
		*s = Clean(*s, MaxText)
	}
	r.Legs = bounded(r.Legs, MaxLegs, func(n int) Leg { return Leg{Name: "truncated", Outcome: fmt.Sprintf("%d more", n)} },
		func(l Leg) Leg { return Leg{Name: Clean(l.Name, MaxLabel), Outcome: Clean(l.Outcome, MaxLabel)} })
	r.Constraints = bounded(r.Constraints, MaxOutcomes,
		func(n int) Outcome { return Outcome{Field: "truncated", Outcome: fmt.Sprintf("%d more", n)} },
		func(o Outcome) Outcome {
			return Outcome{Field: Clean(o.Field, MaxLabel), Kind: Clean(o.Kind, MaxLabel), Outcome: Clean(o.Outcome, MaxLabel)}
		})
	r.Notes = cleanNotes(r.Notes)
}

func cleanNames(r *Record) {
	for _, s := range [...]*string{&r.Tenant, &r.Principal, &r.Agent, &r.AgentType} {
		*s = Clean(*s, MaxText)
	}
	r.Lineage = bounded(r.Lineage, MaxLineage, func(n int) string { return fmt.Sprintf("...(%d more)", n) },
		func(s string) string { return Clean(s, MaxText) })
}

func bounded[T comparable](in []T, limit int, mark func(more int) T, clean func(T) T) []T {
	if len(in) == 0 {
		return nil
	}
	same := len(in) <= limit
	for i := 0; same && i < len(in); i++ {
		same = clean(in[i]) == in[i]
	}
	if same {
		return in
	}
	out := make([]T, 0, min(len(in), limit))
	for i, v := range in {
		if i == limit-1 && len(in) > limit {
			return append(out, mark(len(in)-i))
		}
		out = append(out, clean(v))
	}
	return out
}

func cleanNotes(in map[string]string) map[string]string {
	if len(in) == 0 {
		return nil
	}
	same := len(in) <= MaxNotes
	for name, text := range in {
		same = same && Clean(name, MaxLabel) == name && Clean(text, MaxText) == text
	}
	if same {
		return in
	}
	out := make(map[string]string, min(len(in), MaxNotes))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if len(out) == MaxNotes-1 && len(in) > MaxNotes {
			out["truncated"] = fmt.Sprintf("%d more", len(in)-len(out))
			break
		}
		out[Clean(name, MaxLabel)] = Clean(in[name], MaxText)
	}
	return out
}

func invalid(format string, args ...any) error {
	return agentid.Errorf(agentid.KindInternal, "audit_record_invalid", format, args...)
}
