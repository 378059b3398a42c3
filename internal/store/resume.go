package store

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Running returns the last revision of every session that runs as far as the
// store knows, in order of start: what an engine takes over from the one before.
func (r *Reader) Running(ctx context.Context) iter.Seq2[session.Session, error] {
	return r.each(ctx, `SELECT seq FROM session WHERE open = 1 ORDER BY started, id`)
}

// each returns the sessions at the positions that a query finds.
func (r *Reader) each(ctx context.Context, query string, args ...any) iter.Seq2[session.Session, error] {
	return func(yield func(session.Session, error) bool) {
		rows, err := r.db.QueryContext(ctx, query, args...)
		if err != nil {
			yield(session.Session{}, explain(r.file, err))
			return
		}
		positions, err := collect(r.file, rows, func(seq *int64) []any { return []any{seq} })
		for _, seq := range positions {
			s, err := r.at(ctx, seq)
			if !yield(s, err) || err != nil {
				return
			}
		}
		if err != nil {
			yield(session.Session{}, err)
		}
	}
}

// Newest returns the time of the latest kept observation, and false when none
// is kept.
func (r *Reader) Newest(ctx context.Context) (time.Time, bool, error) {
	var ns sql.NullInt64
	err := r.db.QueryRowContext(ctx, `SELECT max(latest) FROM chunk`).Scan(&ns)
	return time.Unix(0, ns.Int64).UTC(), ns.Valid, explain(r.file, err)
}

// EndedSince returns the last revision of every session that ended at t or
// later, in order of start.
func (r *Reader) EndedSince(ctx context.Context, t time.Time) iter.Seq2[session.Session, error] {
	return r.each(ctx, `SELECT seq FROM session WHERE open = 0 AND superseded = 0 AND last >= ? ORDER BY started, id`, nanos(t))
}
