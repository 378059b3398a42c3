package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// FindingQuery selects findings. The zero value selects all.
type FindingQuery struct {
	// Since and Until bound Finding.Time: Since <= time < Until. Zero means no
	// bound.
	Since, Until time.Time
	// Severity is the least that is wanted.
	Severity finding.Severity
	Rule     string
	Session  session.ID
	// Limit, when positive, keeps only that many, the latest.
	Limit int
}

func (q FindingQuery) where() (cond string, args []any) {
	cond = "severity >= ?"
	args = append(args, q.Severity)
	add := func(c string, arg any) {
		cond += " AND " + c
		args = append(args, arg)
	}
	if !q.Since.IsZero() {
		add("time >= ?", nanos(q.Since))
	}
	if !q.Until.IsZero() {
		add("time < ?", nanos(q.Until))
	}
	if q.Rule != "" {
		add("rule = ?", q.Rule)
	}
	if q.Session != "" {
		add("session = ?", string(q.Session))
	}
	return cond, args
}

// addFinding adds a finding unless one of its id is there, and reports whether
// it did.
func (w *writing) addFinding(f finding.Finding) (bool, error) {
	if f.ID == "" {
		return false, errors.New("store finding: it has no id")
	}
	row := findingOf(f, w.tree.Size())
	if n, err := w.stmts.addFinding.Exec(row.values()...); err != nil || n == 0 {
		return false, err
	}
	body, err := json.Marshal(content{Finding: &f})
	if err != nil {
		return false, fmt.Errorf("store finding %s: %w", f.ID, err)
	}
	_, err = w.addRecord(recordFinding, sql.NullInt64{}, body)
	return true, err
}

// findingRow is a row of table finding.
type findingRow struct {
	id       finding.ID
	seq      int64
	time     int64
	severity finding.Severity
	rule     string
	session  session.ID
}

func findingOf(f finding.Finding, seq int64) findingRow {
	return findingRow{f.ID, seq, nanos(f.Time), f.Severity, f.Rule, f.Session}
}

func (r findingRow) values() []driver.Value {
	return []driver.Value{string(r.id), r.seq, r.time, int64(r.severity), r.rule, string(r.session)}
}

func (r *findingRow) fields() []any {
	return []any{&r.id, &r.seq, &r.time, &r.severity, &r.rule, &r.session}
}

func (r findingRow) key() finding.ID            { return r.id }
func (r findingRow) place() (int64, session.ID) { return r.seq, r.session }

// Findings returns the findings that fit q, in order of time.
func (r *Reader) Findings(ctx context.Context, q FindingQuery) iter.Seq2[finding.Finding, error] {
	return func(yield func(finding.Finding, error) bool) {
		cond, args := q.where()
		if q.Limit > 0 {
			// The latest, in order of time: their places are few and known first.
			cond = "(time, id) IN (SELECT time, id FROM finding WHERE " + cond + " ORDER BY time DESC, id DESC LIMIT ?)"
			args = append(args, q.Limit)
		}
		var after *findingRow
		for {
			page, err := r.findingPage(ctx, cond, args, after)
			for i := range page {
				f, err := r.finding(page[i].seq, page[i].frame)
				if !yield(f, err) || err != nil {
					return
				}
				after = &page[i].findingRow
			}
			if err != nil {
				yield(finding.Finding{}, err)
				return
			}
			if len(page) < pageRows {
				return
			}
		}
	}
}

type findingHit struct {
	findingRow
	frame []byte
}

func (r *Reader) findingPage(ctx context.Context, cond string, args []any, after *findingRow) ([]findingHit, error) {
	if after != nil {
		cond += " AND (time, id) > (?, ?)"
		args = append(slices.Clip(args), after.time, string(after.id))
	}
	rows, err := r.db.QueryContext(ctx, fmt.Sprintf(`SELECT id, finding.seq, time, severity, rule, session, body
		FROM finding LEFT JOIN record ON record.seq = finding.seq WHERE %s
		ORDER BY time, id LIMIT %d`, cond, pageRows), args...)
	if err != nil {
		return nil, explain(r.file, err)
	}
	return collect(r.file, rows, func(h *findingHit) []any { return append(h.fields(), &h.frame) })
}

// finding returns the finding in a ledger record.
func (r *Reader) finding(seq int64, frame []byte) (finding.Finding, error) {
	return contentOf(r, seq, frame, "finding", func(c content) *finding.Finding { return c.Finding })
}
