package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Record is a revision of a session or a finding, at its position in the
// ledger.
type Record struct {
	Position int64
	Revision *session.Revision
	Finding  *finding.Finding
	// Gone counts the records before this one, and after the one before, that
	// retention has taken away.
	Gone int64
}

// Records returns revisions and findings after a position, in order of commit,
// as Follow does with revisions alone.
func (r *Reader) Records(ctx context.Context, after int64) iter.Seq2[Record, error] {
	type row struct {
		seq   int64
		kind  int
		frame []byte
	}
	return func(yield func(Record, error) bool) {
		for {
			rows, err := r.db.QueryContext(ctx, `SELECT seq, kind, body FROM record
				WHERE seq > ? AND kind IN (?, ?) AND body IS NOT NULL ORDER BY seq LIMIT 16`, after, recordRevision, recordFinding)
			if err != nil {
				yield(Record{}, explain(r.file, err))
				return
			}
			page, pageErr := collect(r.file, rows, func(v *row) []any { return []any{&v.seq, &v.kind, &v.frame} })
			for _, v := range page {
				if v.seq <= after {
					yield(Record{}, r.disorder(fmt.Sprintf("ledger record %d", v.seq)))
					return
				}
				rec, err := r.record(v.seq, v.kind, v.frame)
				if err == nil {
					rec.Gone, err = r.gone(ctx, after, v.seq)
				}
				if !yield(rec, err) || err != nil {
					return
				}
				after = v.seq
			}
			if pageErr != nil {
				yield(Record{}, pageErr)
				return
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func (r *Reader) record(seq int64, kind int, frame []byte) (Record, error) {
	if kind == recordFinding {
		f, err := r.finding(seq, frame)
		return Record{Position: seq, Finding: &f}, err
	}
	rev, err := r.revision(seq, frame)
	return Record{Position: seq, Revision: &rev}, err
}

// gone counts the records between two positions that have no content any more.
func (r *Reader) gone(ctx context.Context, after, until int64) (n int64, err error) {
	if until == after+1 {
		return 0, nil
	}
	err = r.db.QueryRowContext(ctx, `SELECT count(*) FROM record WHERE seq > ? AND seq < ? AND body IS NULL`, after, until).Scan(&n)
	return n, explain(r.file, err)
}
