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
	return func(yield func(session.Session, error) bool) {
		rows, err := r.db.QueryContext(ctx, `SELECT seq FROM session WHERE open = 1 ORDER BY started, id`)
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
