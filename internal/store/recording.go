package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/sallyport/sallyport/internal/core/session"
)

// addRecording adds a statement about a recording. After a final one, or one
// over more of the file, it adds nothing: statements of one recording may be
// made at once, and the one that proves most counts.
func (w *writing) addRecording(r session.Recording) error {
	if r.ID == "" || !r.State.Known() {
		return fmt.Errorf("store recording %q: no id, or no state %q", r.ID, r.State)
	}
	before, known, err := w.recordingRow(r.ID)
	if err != nil || known && (before.state.Final() || r.Size < before.size) {
		return err
	}
	body, err := json.Marshal(content{Recording: &r})
	if err != nil {
		return fmt.Errorf("store recording %s: %w", r.ID, err)
	}
	row := recordingOf(r, w.tree.Size())
	if _, err := w.stmts.putRecording.Exec(row.values()...); err != nil {
		return err
	}
	_, err = w.addRecord(recordRecording, sql.NullInt64{Int64: before.seq, Valid: known}, body)
	return err
}

// recordingRow returns the row of the last statement about a recording.
func (w *writing) recordingRow(id string) (r recordingRow, known bool, err error) {
	err = w.conn.QueryRowContext(context.Background(), `SELECT id, seq, state, started, size, session FROM recording WHERE id = ?`, id).
		Scan(r.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

// recordingRow is a row of table recording, derived from a recording's last
// statement.
type recordingRow struct {
	id      string
	seq     int64
	state   session.RecordingState
	started int64
	size    int64
	session session.ID
}

func recordingOf(r session.Recording, seq int64) recordingRow {
	return recordingRow{r.ID, seq, r.State, nanos(r.Started), r.Size, r.Session}
}

func (r recordingRow) values() []driver.Value {
	return []driver.Value{r.id, r.seq, string(r.state), r.started, r.size, string(r.session)}
}

func (r *recordingRow) fields() []any {
	return []any{&r.id, &r.seq, &r.state, &r.started, &r.size, &r.session}
}

func (r recordingRow) key() string                { return r.id }
func (r recordingRow) place() (int64, session.ID) { return r.seq, r.session }

// Recordings returns the last statement about each recording, in order of start.
func (r *Reader) Recordings(ctx context.Context) iter.Seq2[session.Recording, error] {
	type hit struct {
		recordingRow
		frame []byte
	}
	return func(yield func(session.Recording, error) bool) {
		after := recordingRow{started: -1 << 63}
		for {
			rows, err := r.db.QueryContext(ctx, `SELECT id, recording.seq, state, started, size, session, body
				FROM recording LEFT JOIN record ON record.seq = recording.seq WHERE (started, id) > (?, ?)
				ORDER BY started, id LIMIT ?`, after.started, after.id, pageRows)
			if err != nil {
				yield(session.Recording{}, explain(r.file, err))
				return
			}
			page, err := collect(r.file, rows, func(h *hit) []any { return append(h.fields(), &h.frame) })
			for _, h := range page {
				rec, err := r.recording(h.seq, h.frame)
				if !yield(rec, err) || err != nil {
					return
				}
				after = h.recordingRow
			}
			if err != nil {
				yield(session.Recording{}, err)
				return
			}
			if len(page) < pageRows {
				return
			}
		}
	}
}

// Recording returns the last statement about one recording; ErrNotFound when
// there is none.
func (r *Reader) Recording(ctx context.Context, id string) (session.Recording, error) {
	var seq int64
	var frame []byte
	err := r.db.QueryRowContext(ctx, `SELECT recording.seq, body FROM recording
		LEFT JOIN record ON record.seq = recording.seq WHERE id = ?`, id).Scan(&seq, &frame)
	if errors.Is(err, sql.ErrNoRows) {
		return session.Recording{}, fmt.Errorf("recording %q: %w", id, ErrNotFound)
	}
	if err != nil {
		return session.Recording{}, explain(r.file, err)
	}
	return r.recording(seq, frame)
}

// recording returns the statement in a ledger record.
func (r *Reader) recording(seq int64, frame []byte) (session.Recording, error) {
	return contentOf(r, seq, frame, "recording", func(c content) *session.Recording { return c.Recording })
}

// contentOf returns what a ledger record, of which frame is the content, states of a
// kind.
func contentOf[T any](r *Reader, seq int64, frame []byte, kind string, of func(content) *T) (T, error) {
	var none T
	what := fmt.Sprintf("ledger record %d", seq)
	if frame == nil {
		return none, &DamagedError{File: r.file, Offset: -1, What: what + " or its content is missing"}
	}
	b, err := r.unpack(frame, what)
	if err != nil {
		return none, err
	}
	c, err := decodeRecord(b)
	if err == nil {
		if v := of(c); v != nil {
			return *v, nil
		}
		err = errors.New("not a " + kind)
	}
	return none, &DamagedError{File: r.file, Offset: -1, What: fmt.Sprintf("%s: %v", what, err)}
}

// ForgetRecordings takes the contents of all statements about recordings away,
// whose files are to go, and adds a record of what went and why ("age" or
// "size"). Ids that are not known are left out.
func (s *Store) ForgetRecordings(ctx context.Context, why string, ids []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transact(context.WithoutCancel(ctx), func(w *writing) error {
		var gone positions
		for _, id := range ids {
			row, known, err := w.recordingRow(id)
			if err != nil {
				return err
			}
			for at := (sql.NullInt64{Int64: row.seq, Valid: known}); at.Valid; {
				gone = append(gone, at.Int64)
				if at, err = w.dropContent(at.Int64, recordRecording); err != nil {
					return err
				}
			}
			if _, err := w.conn.ExecContext(context.Background(), `DELETE FROM recording WHERE id = ?`, id); err != nil {
				return err
			}
		}
		if len(gone) == 0 {
			return nil
		}
		return w.addPrune(pruneContent{Time: w.now().UTC(), Why: why, Records: gone.ranges()})
	})
}
