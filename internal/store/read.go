package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Reader reads a store, while a Store writes to it or after. It is safe for
// concurrent use.
//
// Its iterations read a page at a time and hold no snapshot while the caller
// works on an item: what is appended meanwhile may or may not be seen, what was
// acknowledged before is. An iteration ends after its first error.
type Reader struct {
	dir    string
	file   string
	db     *sql.DB
	frames *unpacker
}

// OpenReadOnly opens the store in dir for reading. The error is ErrNoStore when
// there is none, *SchemaError when its schema is not this version's, and
// *DamagedError when it is no longer a database.
func OpenReadOnly(dir string) (*Reader, error) {
	file := filepath.Join(dir, databaseName)
	if info, err := os.Stat(file); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoStore)
	} else if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	r := &Reader{dir: dir, file: file}
	err := r.open("ro")
	if code, _ := sqliteCode(err); code == sqlite3.SQLITE_CANTOPEN && !exists(file+"-wal") {
		// A closed store on a medium that takes no -shm file: a copy kept as
		// evidence. Nobody can be writing to it.
		err = r.open("ro&immutable=1")
	}
	if err != nil {
		return nil, err
	}
	r.frames, err = newUnpacker()
	return r, err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// open connects and checks that the schema is ours.
func (r *Reader) open(mode string) (err error) {
	if r.db, err = openSQL(r.file, mode, readerPragmas); err != nil {
		return err
	}
	r.db.SetMaxOpenConns(readersMax)
	if err = r.check(); err != nil {
		_ = r.db.Close()
	}
	return err
}

func (r *Reader) check() error {
	ctx := context.Background()
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return explain(r.file, err)
	}
	defer conn.Close()
	have, err := schemaVersion(ctx, conn, r.file)
	if err == nil && have != len(migrations) {
		err = &SchemaError{File: r.file, Have: have, Max: len(migrations)}
	}
	return err
}

// Close closes the reader. Iterations must have ended.
func (r *Reader) Close() error {
	r.frames.Close()
	return r.db.Close()
}

// unpack returns the content of a stored frame; what names it in errors.
func (r *Reader) unpack(frame []byte, what string) ([]byte, error) {
	b, err := r.frames.DecodeAll(frame, nil)
	if err != nil {
		return nil, &DamagedError{File: r.file, Offset: -1, What: fmt.Sprintf("%s: %v", what, err)}
	}
	return b, nil
}

// revision returns the revision in a ledger record.
func (r *Reader) revision(seq int64, frame []byte) (session.Revision, error) {
	what := fmt.Sprintf("ledger record %d", seq)
	if frame == nil {
		return session.Revision{}, &DamagedError{File: r.file, Offset: -1, What: what + " or its content is missing"}
	}
	b, err := r.unpack(frame, what)
	if err != nil {
		return session.Revision{}, err
	}
	c, err := decodeRecord(b)
	if err == nil && c.Revision == nil {
		err = errors.New("not a revision")
	}
	var rev session.Revision
	if err == nil {
		rev, err = c.Revision.revision()
	}
	if err != nil {
		err = &DamagedError{File: r.file, Offset: -1, What: fmt.Sprintf("%s: %v", what, err)}
	}
	return rev, err
}

// pageRows is how many sessions an iteration reads at once; their contents, as
// stored, are in memory together.
const pageRows = 32

// hit is a session that a query found: its place in the order, and its last
// record as stored.
type hit struct {
	started int64
	id      string
	seq     int64
	frame   []byte
}

// compare orders hits as queries do.
func (h *hit) compare(o *hit) int {
	return cmp.Or(cmp.Compare(h.started, o.started), cmp.Compare(h.id, o.id))
}

// ahead is how a hit compares with the one before it, by a query's order.
var ahead = map[string]int{"": 1, "DESC": -1}

// disorder is the error for rows that do not come in the order of their keys:
// whoever goes on from the last one would go round for ever.
func (r *Reader) disorder(what string) error {
	return &DamagedError{File: r.file, Offset: -1, What: what + ": out of order"}
}

// Sessions returns the last revision of each session that fits q, in order of
// start.
func (r *Reader) Sessions(ctx context.Context, q Query) iter.Seq2[session.Session, error] {
	return func(yield func(session.Session, error) bool) {
		if q.Limit > 0 {
			r.latest(ctx, q, yield)
			return
		}
		err := r.scan(ctx, q, "", func(_ hit, s session.Session) bool { return yield(s, nil) })
		if err != nil {
			yield(session.Session{}, err)
		}
	}
}

// latest yields the q.Limit sessions that started last, the earliest first. It
// keeps them packed meanwhile.
func (r *Reader) latest(ctx context.Context, q Query, yield func(session.Session, error) bool) {
	var last []hit
	err := r.scan(ctx, q, "DESC", func(f hit, _ session.Session) bool {
		last = append(last, f)
		return len(last) < q.Limit
	})
	for _, f := range slices.Backward(last) {
		rev, err := r.revision(f.seq, f.frame)
		if !yield(rev.Session, err) || err != nil {
			return
		}
	}
	if err != nil {
		yield(session.Session{}, err)
	}
}

// scan calls each with the sessions that fit q, in the given order ("" or
// "DESC") of start, until it returns false.
func (r *Reader) scan(ctx context.Context, q Query, order string, each func(hit, session.Session) bool) error {
	var after *hit
	for {
		page, pageErr := r.page(ctx, q, after, order)
		for i, f := range page {
			if after != nil && f.compare(after) != ahead[order] {
				return r.disorder("the table of sessions at session " + f.id)
			}
			rev, err := r.revision(f.seq, f.frame)
			if err != nil {
				return err
			}
			if q.matches(rev.Session) && !each(f, rev.Session) {
				return nil
			}
			after = &page[i]
		}
		if pageErr != nil || len(page) < pageRows {
			return pageErr
		}
	}
}

// page returns the next sessions that the coarse search finds, of one state of
// the store.
func (r *Reader) page(ctx context.Context, q Query, after *hit, order string) ([]hit, error) {
	cond, args := q.where()
	if after != nil {
		than := ">"
		if order == "DESC" {
			than = "<"
		}
		cond += " AND (started, id) " + than + " (?, ?)"
		args = append(args, after.started, after.id)
	}
	rows, err := r.db.QueryContext(ctx, fmt.Sprintf(`SELECT started, id, session.seq, body
		FROM session LEFT JOIN record ON record.seq = session.seq WHERE %s
		ORDER BY started %s, id %[2]s LIMIT %d`, cond, order, pageRows), args...)
	if err != nil {
		return nil, explain(r.file, err)
	}
	return collect(r.file, rows, func(f *hit) []any { return []any{&f.started, &f.id, &f.seq, &f.frame} })
}

// at returns the session in the ledger record at seq.
func (r *Reader) at(ctx context.Context, seq int64) (session.Session, error) {
	var frame []byte
	err := r.db.QueryRowContext(ctx, `SELECT body FROM record WHERE seq = ?`, seq).Scan(&frame)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return session.Session{}, explain(r.file, err)
	}
	rev, err := r.revision(seq, frame)
	return rev.Session, err
}

// collect reads all rows into a slice and closes them.
func collect[T any](file string, rows *sql.Rows, fields func(*T) []any) ([]T, error) {
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := rows.Scan(fields(&v)...); err != nil {
			return out, explain(file, err)
		}
		out = append(out, v)
	}
	return out, explain(file, rows.Err())
}

// matchesMax bounds ErrAmbiguous.Matches.
const matchesMax = 8

// Session returns the session whose id begins with prefix, and all its
// revisions, oldest first. The error is ErrNotFound or *ErrAmbiguous when not
// exactly one does.
func (r *Reader) Session(ctx context.Context, prefix string) (session.Session, []session.Revision, error) {
	type match struct {
		id  session.ID
		seq int64
	}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one state: Prune may be at work
	if err != nil {
		return session.Session{}, nil, explain(r.file, err)
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(ctx, `SELECT id, seq FROM session WHERE id >= ?1 AND id < ?1 || CAST(x'FF' AS TEXT)
		AND substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT ?2`, prefix, matchesMax) // no text has a byte FF
	if err != nil {
		return session.Session{}, nil, explain(r.file, err)
	}
	found, err := collect(r.file, rows, func(m *match) []any { return []any{&m.id, &m.seq} })
	switch {
	case err != nil:
		return session.Session{}, nil, err
	case len(found) == 0:
		return session.Session{}, nil, fmt.Errorf("session %q: %w", prefix, ErrNotFound)
	case len(found) > 1 && string(found[0].id) != prefix:
		e := &ErrAmbiguous{Prefix: prefix}
		for _, m := range found {
			e.Matches = append(e.Matches, m.id)
		}
		return session.Session{}, nil, e
	}
	revs, err := r.history(ctx, tx, found[0].seq)
	if err != nil {
		return session.Session{}, nil, err
	}
	return revs[len(revs)-1].Session, revs, nil
}

// history follows a session's revisions back from the last one.
func (r *Reader) history(ctx context.Context, tx *sql.Tx, seq int64) ([]session.Revision, error) {
	var revs []session.Revision
	for at := (sql.NullInt64{Int64: seq, Valid: true}); at.Valid; {
		var frame []byte
		var prev sql.NullInt64
		err := tx.QueryRowContext(ctx, `SELECT prev, body FROM record WHERE seq = ?`, at.Int64).Scan(&prev, &frame)
		if errors.Is(err, sql.ErrNoRows) || prev.Valid && prev.Int64 >= at.Int64 {
			err = &DamagedError{File: r.file, Offset: -1, What: fmt.Sprintf("ledger record %d is missing or points ahead", at.Int64)}
		}
		if err != nil {
			return nil, explain(r.file, err)
		}
		rev, err := r.revision(at.Int64, frame)
		if err != nil {
			return nil, err
		}
		revs = append(revs, rev)
		at = prev
	}
	slices.Reverse(revs)
	return revs, nil
}
