package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Positioned is a revision with its position in the ledger, counted from 0.
type Positioned struct {
	Position int64
	Revision session.Revision
}

// Follow returns the revisions after a position, in order of commit, up to the
// last one there is now. Start with -1 for all, or with Last for only what
// comes; go on with the last Position seen.
func (r *Reader) Follow(ctx context.Context, after int64) iter.Seq2[Positioned, error] {
	return func(yield func(Positioned, error) bool) {
		type record struct {
			seq   int64
			frame []byte
		}
		for {
			// The bodies of a page are in memory at once: a small page.
			rows, err := r.db.QueryContext(ctx, `SELECT seq, body FROM record
				WHERE seq > ? AND kind = ? AND body IS NOT NULL ORDER BY seq LIMIT 16`, after, recordRevision)
			if err != nil {
				yield(Positioned{}, explain(r.file, err))
				return
			}
			page, pageErr := collect(r.file, rows, func(v *record) []any { return []any{&v.seq, &v.frame} })
			for _, v := range page {
				if v.seq <= after {
					yield(Positioned{}, r.disorder(fmt.Sprintf("ledger record %d", v.seq)))
					return
				}
				rev, err := r.revision(v.seq, v.frame)
				if !yield(Positioned{v.seq, rev}, err) || err != nil {
					return
				}
				after = v.seq
			}
			if pageErr != nil {
				yield(Positioned{}, pageErr)
				return
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// Last returns the position of the last record in the ledger, -1 when it is
// empty.
func (r *Reader) Last(ctx context.Context) (int64, error) {
	var last int64
	err := r.db.QueryRowContext(ctx, `SELECT coalesce(max(seq), -1) FROM record`).Scan(&last)
	return last, explain(r.file, err)
}

// OldestOpen returns when the earliest of the running sessions started, and
// false when none runs.
func (r *Reader) OldestOpen(ctx context.Context) (time.Time, bool, error) {
	var ns sql.NullInt64
	err := r.db.QueryRowContext(ctx, `SELECT min(started) FROM session WHERE open = 1`).Scan(&ns)
	return time.Unix(0, ns.Int64).UTC(), ns.Valid, explain(r.file, err)
}
