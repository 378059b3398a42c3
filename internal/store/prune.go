package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Retention says what to keep. A zero field keeps everything.
type Retention struct {
	// Age is how long observations and ended sessions are kept.
	Age time.Duration
	// Bytes bounds the size of the database file. Observations go first, the
	// oldest first; then ended sessions, the oldest first; then findings.
	Bytes int64
}

// Pruned counts what one Prune took away.
type Pruned struct {
	Observations int64
	Sessions     int64
	Revisions    int64
	Findings     int64
	// Bytes is the size of the database file afterwards. It exceeds
	// Retention.Bytes when nothing was left that may go.
	Bytes int64
}

// How much one transaction of Prune takes away at most, so that an Append never
// waits long.
const (
	pruneChunks   = 64
	pruneSessions = 256
)

// Prune takes away what retention does not keep. Running sessions stay whatever
// their age. Of a session's records the ledger keeps the hashes, and a new
// record names what went and why, so that the proof holds.
func (s *Store) Prune(ctx context.Context, keep Retention) (Pruned, error) {
	var p Pruned
	if keep.Age > 0 {
		before := nanos(s.now().Add(-keep.Age))
		err := s.drain(ctx, &p, "age", before, func() bool { return true })
		if err != nil {
			return p, err
		}
	}
	if keep.Bytes > 0 {
		over := func() bool { return p.Bytes > keep.Bytes }
		if err := s.shrink(ctx, &p); err != nil {
			return p, err
		}
		if err := s.drain(ctx, &p, "size", 1<<63-1, over); err != nil {
			return p, err
		}
	}
	if err := s.thinCheckpoints(); err != nil {
		return p, err
	}
	return p, s.shrink(ctx, &p)
}

// checkpointsKept is how many checkpoints Prune leaves at the end of the ledger.
// Before them it keeps one in about checkpointsEvery records: enough to prove
// the same, only a change that was made to fit all stored hashes is then
// located less exactly.
const (
	checkpointsKept  = 1 << 14
	checkpointsEvery = 1 << 10
)

func (s *Store) thinCheckpoints() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transact(context.Background(), func(w *writing) error {
		_, err := w.conn.ExecContext(context.Background(), `
			WITH old AS (SELECT size FROM checkpoint WHERE size <
				(SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1 OFFSET ?1))
			DELETE FROM checkpoint WHERE size IN (SELECT size FROM old)
				AND size NOT IN (SELECT max(size) FROM old GROUP BY size / ?2)`, checkpointsKept, checkpointsEvery)
		return err
	})
}

// drain takes away observations, then ended sessions, then findings, that are older than
// before, while more says so and something goes.
func (s *Store) drain(ctx context.Context, p *Pruned, why string, before int64, more func() bool) error {
	steps := []func(*writing) (int64, error){
		func(w *writing) (int64, error) { return w.pruneChunks(p, before) },
		func(w *writing) (int64, error) { return w.pruneSessions(p, why, before) },
		func(w *writing) (int64, error) { return w.pruneFindings(p, why, before) },
	}
	for _, step := range steps {
		for more() {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := s.pruneStep(ctx, step)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if err := s.shrink(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) pruneStep(ctx context.Context, step func(*writing) (int64, error)) (n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.transact(context.WithoutCancel(ctx), func(w *writing) error {
		n, err = step(w)
		return err
	})
	return n, err
}

// shrink gives free pages back to the file system, a few at a time, and
// measures the file.
func (s *Store) shrink(ctx context.Context, p *Pruned) error {
	for free := int64(1); free > 0; {
		var err error
		if free, err = s.shrinkStep(ctx, p); err != nil {
			return explain(s.file, err)
		}
	}
	return nil
}

func (s *Store) shrinkStep(ctx context.Context, p *Pruned) (free int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	var pages, size int64
	for query, to := range map[string]*int64{
		`PRAGMA freelist_count`: &free, `PRAGMA page_count`: &pages, `PRAGMA page_size`: &size,
	} {
		if err := s.conn.QueryRowContext(ctx, query).Scan(to); err != nil {
			return 0, err
		}
	}
	p.Bytes = (pages - free) * size
	if free == 0 {
		return 0, nil
	}
	_, err = s.conn.ExecContext(ctx, `PRAGMA incremental_vacuum(1024)`)
	return max(0, free-1024), err
}

func (w *writing) pruneChunks(p *Pruned, before int64) (int64, error) {
	ctx := context.Background()
	rows, err := w.conn.QueryContext(ctx, `DELETE FROM chunk WHERE id IN (SELECT id FROM chunk INDEXED BY chunk_time
		WHERE latest < ? ORDER BY latest LIMIT ?) RETURNING count`, before, pruneChunks)
	if err != nil {
		return 0, err
	}
	counts, err := collect(w.file, rows, func(n *int64) []any { return []any{n} })
	for _, n := range counts {
		p.Observations += n
	}
	return int64(len(counts)), err
}

// pruneSessions takes the contents of the records of ended sessions away.
func (w *writing) pruneSessions(p *Pruned, why string, before int64) (int64, error) {
	ctx := context.Background()
	type doomed struct {
		id  session.ID
		seq int64
	}
	rows, err := w.conn.QueryContext(ctx, `SELECT id, seq FROM session WHERE open = 0 AND last < ?
		ORDER BY last LIMIT ?`, before, pruneSessions)
	if err != nil {
		return 0, err
	}
	ended, err := collect(w.file, rows, func(d *doomed) []any { return []any{&d.id, &d.seq} })
	if err != nil || len(ended) == 0 {
		return 0, err
	}
	var gone positions
	for _, d := range ended {
		for at := (sql.NullInt64{Int64: d.seq, Valid: true}); at.Valid; {
			gone = append(gone, at.Int64)
			if at, err = w.dropContent(at.Int64, recordRevision); err != nil {
				return 0, err
			}
		}
		if _, err := w.conn.ExecContext(ctx, `DELETE FROM session WHERE id = ?`, string(d.id)); err != nil {
			return 0, err
		}
	}
	p.Sessions += int64(len(ended))
	p.Revisions += int64(len(gone))
	return int64(len(ended)), w.addPrune(pruneContent{Time: w.now().UTC(), Why: why, Records: gone.ranges()})
}

// pruneFindings takes the contents of the records of findings away.
func (w *writing) pruneFindings(p *Pruned, why string, before int64) (int64, error) {
	rows, err := w.conn.QueryContext(context.Background(), `DELETE FROM finding WHERE id IN
		(SELECT id FROM finding WHERE time < ? ORDER BY time, id LIMIT ?) RETURNING seq`, before, pruneSessions)
	if err != nil {
		return 0, err
	}
	gone, err := collect(w.file, rows, func(seq *int64) []any { return []any{seq} })
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	for _, seq := range gone {
		if _, err := w.dropContent(seq, recordFinding); err != nil {
			return 0, err
		}
	}
	p.Findings += int64(len(gone))
	return int64(len(gone)), w.addPrune(pruneContent{Time: w.now().UTC(), Why: why, Records: positions(gone).ranges()})
}

// dropContent takes a record's content away and returns the session's record
// before it. It deletes and inserts: after an update that makes rows shorter
// SQLite leaves the pages as they are, nearly empty.
func (w *writing) dropContent(seq int64, kind int) (prev sql.NullInt64, err error) {
	ctx := context.Background()
	var hashes []byte
	err = w.conn.QueryRowContext(ctx, `DELETE FROM record WHERE seq = ? RETURNING prev, hashes`, seq).Scan(&prev, &hashes)
	if err != nil {
		return prev, err
	}
	_, err = w.stmts.addRecord.Exec(seq, int64(kind), nullable(prev), hashes, nil)
	return prev, err
}
