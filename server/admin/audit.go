package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// row is a record with its place in the log.
type row struct {
	Seq int64 `json:"seq"`
	auditlog.Record
}

// auditQuery reads ?tenant, ?principal, ?agent, ?token, ?request, ?kind, ?newest and
// ?limit. Ids are in full: "agent:acme/ag-1".
func auditQuery(r *http.Request) (auditlog.Query, error) {
	v := r.URL.Query()
	q := auditlog.Query{
		Tenant: v.Get("tenant"), Principal: v.Get("principal"), Agent: v.Get("agent"), Token: v.Get("token"),
		Request: v.Get("request"), Kind: auditlog.Kind(v.Get("kind")), Newest: v.Get("newest") == "true",
	}
	if text := v.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > auditlog.MaxLimit {
			return q, agentid.Invalidf("limit", "want 1 to %d", auditlog.MaxLimit)
		}
		q.Limit = n
	}
	if cursor := v.Get("after"); cursor != "" {
		after, err := auditlog.ParseCursor(cursor)
		if err != nil {
			return q, err //nolint:wrapcheck // names the field
		}
		q.After = after
	}
	return q, nil
}

func (s *Service) queryAudit(w http.ResponseWriter, r *http.Request) error {
	q, err := auditQuery(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Ledger.Audit().Query(r.Context(), q)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	rows := make([]row, 0, len(found.Records))
	for _, rec := range found.Records {
		rows = append(rows, row{Seq: rec.Seq, Record: rec})
	}
	return answer(w, http.StatusOK, map[string]any{"items": rows, "next": found.Next})
}

// tailAudit streams records as they are written, one JSON document a line, until the
// caller leaves, its credential is taken away, or the server drains.
func (s *Service) tailAudit(w http.ResponseWriter, r *http.Request) error {
	q, err := auditQuery(r)
	if err != nil {
		return err
	}
	if q.After == 0 {
		if q.After, err = s.cfg.Ledger.Audit().Size(r.Context()); err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
	}
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Time{}); err != nil {
		return agentid.Errorf(agentid.KindInternal, "internal", "").WithCause(err)
	}
	httpx.NoStore(w.Header())
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	_ = control.Flush() // the peer is gone: Tail ends with its context
	encoder := json.NewEncoder(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.cfg.Draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = s.cfg.Ledger.Audit().Tail(ctx, q, func(rec auditlog.Record) error {
		if _, err := s.administrator(r); err != nil { // the credential was taken away meanwhile
			return err
		}
		if err := encoder.Encode(row{Seq: rec.Seq, Record: rec}); err != nil {
			return err //nolint:wrapcheck // ends the stream
		}
		return control.Flush()
	})
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.WarnContext(r.Context(), "an audit stream ended", "error", err.Error())
	}
	return nil
}
