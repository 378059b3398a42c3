package store

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store/ledger"
)

// statements are the writer's prepared statements.
type statements struct {
	lookup                                                                 *sql.Stmt
	addChunk, addRecord, addSession, putSession, addFinding, addCheckpoint *statement
	putRecording                                                           *statement
}

func prepare(ctx context.Context, conn *sql.Conn) (s statements, err error) {
	const session = ` session (id, seq, revision, digest, started, last, open, superseded,
		unexplained, kind, channel, container, actors) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	for query, to := range map[string]**statement{
		`INSERT INTO chunk (earliest, latest, count, body) VALUES (?, ?, ?, ?)`:     &s.addChunk,
		`INSERT INTO record (seq, kind, prev, hashes, body) VALUES (?, ?, ?, ?, ?)`: &s.addRecord,
		`INSERT OR IGNORE INTO` + session:                                           &s.addSession,
		`INSERT INTO` + session + ` ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, revision = excluded.revision,
			digest = excluded.digest, started = excluded.started, last = excluded.last, open = excluded.open,
			superseded = excluded.superseded, unexplained = excluded.unexplained, kind = excluded.kind, channel = excluded.channel,
			container = excluded.container, actors = excluded.actors`: &s.putSession,
		`INSERT OR IGNORE INTO finding (id, seq, time, severity, rule, session) VALUES (?, ?, ?, ?, ?, ?)`:    &s.addFinding,
		`INSERT OR REPLACE INTO recording (id, seq, state, started, size, session) VALUES (?, ?, ?, ?, ?, ?)`: &s.putRecording,
		`INSERT OR REPLACE INTO checkpoint (size, note) VALUES (?, ?)`:                                        &s.addCheckpoint,
	} {
		if *to, err = prepareStatement(ctx, conn, query); err != nil {
			return s, err
		}
	}
	s.lookup, err = conn.PrepareContext(ctx, `SELECT seq, revision, digest FROM session WHERE id = ?`)
	return s, err
}

func (s *statements) close() {
	for _, stmt := range []*statement{s.addChunk, s.addRecord, s.addSession, s.putSession, s.addFinding, s.addCheckpoint, s.putRecording} {
		stmt.close()
	}
	if s.lookup != nil {
		_ = s.lookup.Close()
	}
}

// Append stores a batch in one transaction, signs a checkpoint over it, and
// returns once all of it is durable. It numbers the revisions (last+1 for each
// session) and leaves out those whose session equals the last one stored, so
// that building the same sessions again after a restart adds nothing. So it does
// with findings whose id is stored. It returns what it stored.
//
// On an error nothing of the batch is stored. ErrFull means that the same batch
// may be tried again later. Append is not interrupted by ctx once it has
// begun: a commit whose outcome is unknown helps nobody.
func (s *Store) Append(ctx context.Context, b Batch) (Added, error) {
	if err := ctx.Err(); err != nil {
		return Added{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	chunks, err := s.pack.chunks(b.Observations)
	if err != nil {
		return Added{}, err
	}
	added := Added{Revisions: make([]session.Revision, 0, len(b.Revisions))}
	err = s.transact(context.WithoutCancel(ctx), func(w *writing) error {
		for _, c := range chunks {
			if _, err := w.stmts.addChunk.Exec(c.earliest, c.latest, int64(c.count), c.body); err != nil {
				return err
			}
		}
		for _, r := range b.Revisions {
			number, err := w.addRevision(r)
			if err != nil {
				return err
			}
			if number > 0 {
				r.Session.Revision = number
				added.Revisions = append(added.Revisions, r)
			}
		}
		for _, f := range b.Findings {
			isNew, err := w.addFinding(f)
			if err != nil {
				return err
			}
			if isNew {
				added.Findings = append(added.Findings, f)
			}
		}
		for _, r := range b.Recordings {
			if err := w.addRecording(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Added{}, err
	}
	return added, nil
}

// writing is one transaction of the writer.
type writing struct {
	*Store
	tree *ledger.Tree // as it will be once committed
}

// transact runs f in a transaction and adds a checkpoint when f added records.
// The tree in memory changes only after the commit. Call with s.mu held.
func (s *Store) transact(ctx context.Context, f func(*writing) error) error {
	if _, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return explain(s.file, err)
	}
	w := &writing{Store: s, tree: s.tree.Clone()}
	err := f(w)
	if err == nil && w.tree.Size() > s.tree.Size() {
		err = w.addCheckpoint()
	}
	if err == nil {
		_, err = s.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		// After some errors SQLite has rolled back by itself; then this fails.
		_, _ = s.conn.ExecContext(ctx, "ROLLBACK")
		return explain(s.file, err)
	}
	s.tree = w.tree
	return nil
}

// addRevision adds a revision unless it says what the last one said. It
// returns the number it got, or 0.
func (w *writing) addRevision(r session.Revision) (uint32, error) {
	if r.Session.ID == "" {
		return 0, errors.New("store session: it has no id")
	}
	var err error
	if w.pack.session, err = appendSession(w.pack.session[:0], r.Session); err != nil {
		return 0, err
	}
	row := rowOf(r.Session, w.tree.Size(), 1, digest(w.pack.session))
	var prev sql.NullInt64
	fresh := false
	if slices.Contains(r.Changed, "new") { // mostly true: then nothing has to be looked up
		if fresh, err = w.tryFirst(row); err != nil {
			return 0, err
		}
	}
	if !fresh {
		var last []byte
		err = w.stmts.lookup.QueryRow(string(r.Session.ID)).Scan(&prev, &row.revision, &last)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		if bytes.Equal(last, row.digest) {
			return 0, nil
		}
		row.revision++
		if err != nil { // no rows
			row.revision = 1
		}
		if _, err := w.stmts.putSession.Exec(row.values()...); err != nil {
			return 0, err
		}
	}
	w.pack.record = appendRevision(w.pack.record[:0], row.revision, r.Changed, w.pack.session)
	_, err = w.addRecord(recordRevision, prev, w.pack.record)
	return row.revision, err
}

// tryFirst adds the row of a session that is not in the table yet. It returns
// false when it is.
func (w *writing) tryFirst(r row) (bool, error) {
	n, err := w.stmts.addSession.Exec(r.values()...)
	return n == 1, err
}

// addRecord adds a leaf to the ledger and returns its position.
func (w *writing) addRecord(kind int, prev sql.NullInt64, content []byte) (int64, error) {
	if len(content) > unpackMax {
		return 0, fmt.Errorf("store record: %d bytes are more than a record may have", len(content))
	}
	seq := w.tree.Size()
	w.pack.hashes = appendHashes(w.pack.hashes[:0], w.tree.Append(ledger.Leaf(content)))
	w.pack.frame = w.pack.appendFrame(w.pack.frame[:0], content)
	_, err := w.stmts.addRecord.Exec(seq, int64(kind), nullable(prev), w.pack.hashes, w.pack.frame)
	return seq, err
}

func (w *writing) addPrune(p pruneContent) error {
	b, err := json.Marshal(content{Prune: &p})
	if err != nil {
		return err
	}
	_, err = w.addRecord(recordPrune, sql.NullInt64{}, b)
	return err
}

func (w *writing) addCheckpoint() error {
	c := ledger.Checkpoint{Size: w.tree.Size(), Root: w.tree.Root(), Time: w.now()}
	signed, err := ledger.Sign(c, w.signer)
	if err != nil {
		return err
	}
	_, err = w.stmts.addCheckpoint.Exec(c.Size, signed)
	return err
}

// row is a row of table session, derived from a session's last revision.
type row struct {
	id                         session.ID
	seq                        int64
	revision                   uint32
	digest                     []byte
	started, last              int64
	open, superseded, unexplnd bool
	kind, channel              string
	container, actors          []byte
}

func rowOf(s session.Session, seq int64, number uint32, digest []byte) row {
	r := row{
		id: s.ID, seq: seq, revision: number, digest: digest, started: nanos(s.Started), last: nanos(s.Started),
		open: s.State.Open() && s.SupersededBy == "", superseded: s.SupersededBy != "",
		unexplnd: s.Unexplained.Is, kind: string(s.Kind), channel: string(s.Channel),
		container: words(string(s.Target.ContainerID), s.Target.ContainerName),
		actors:    words(identities(s)...),
	}
	if s.Ended != nil {
		r.last = max(r.last, nanos(*s.Ended))
	}
	return r
}

func (r *row) values() []driver.Value {
	return []driver.Value{
		string(r.id), r.seq, int64(r.revision), r.digest, r.started, r.last, r.open, r.superseded,
		r.unexplnd, r.kind, r.channel, r.container, r.actors,
	}
}

func nullable(n sql.NullInt64) driver.Value {
	if !n.Valid {
		return nil
	}
	return n.Int64
}

func joinHashes(hashes []ledger.Hash) []byte { return appendHashes(nil, hashes) }

func appendHashes(b []byte, hashes []ledger.Hash) []byte {
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

func splitHashes(b []byte) []ledger.Hash {
	out := make([]ledger.Hash, len(b)/ledger.HashSize)
	for i := range out {
		copy(out[i][:], b[i*ledger.HashSize:])
	}
	return out
}
