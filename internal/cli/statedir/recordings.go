package statedir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/internal/store"
)

// recordingLedger is the store's ledger as recordings want it.
type recordingLedger struct{ store *store.Store }

// State implements recording.Ledger.
func (l recordingLedger) State(ctx context.Context, list []session.Recording) error {
	_, err := l.store.Append(ctx, store.Batch{Recordings: list})
	return err
}

// Statements implements recording.Ledger.
func (l recordingLedger) Statements(ctx context.Context) ([]session.Recording, error) {
	return Recordings(ctx, l.store.Reader)
}

// Forget implements recording.Ledger.
func (l recordingLedger) Forget(ctx context.Context, why string, ids []string) error {
	return l.store.ForgetRecordings(ctx, why, ids)
}

// Recordings returns what the ledger says last of each recording.
func Recordings(ctx context.Context, r *store.Reader) (out []session.Recording, err error) {
	for s, err := range r.Recordings(ctx) {
		if err != nil {
			return out, err
		}
		out = append(out, s)
	}
	return out, nil
}

// OpenRecordings opens the recordings in a state directory for writing, readable by
// recipients alone where there are any.
func OpenRecordings(ctx context.Context, state, recipients string, st *store.Store, log *slog.Logger) (*recording.Recordings, error) {
	o := recording.Options{Dir: recording.DirIn(state), Ledger: recordingLedger{st}, Logger: log}
	if recipients != "" {
		var err error
		if o.Recipients, err = recording.ParseRecipients(recipients); err != nil {
			return nil, fmt.Errorf("recording.recipients: %w", err)
		}
	}
	return recording.Open(ctx, o)
}

// OfSession reports whether a statement is about a session's recording: it says so, or
// names the same exec of the same container.
func OfSession(r *session.Recording, s *session.Session) bool {
	if r.Session != "" {
		return r.Session == s.ID
	}
	return r.Exec != "" && r.Exec == s.ExecID && r.Container == s.Target.ContainerID
}

// RecordingsOf returns the recordings of a session.
func RecordingsOf(ctx context.Context, r *store.Reader, s *session.Session) ([]session.Recording, error) {
	all, err := Recordings(ctx, r)
	var out []session.Recording
	for _, rec := range all {
		if OfSession(&rec, s) {
			out = append(out, rec)
		}
	}
	return out, err
}

// Damage is a recording whose file is not what the ledger proves.
type Damage struct {
	ID      string     `json:"id"`
	Session session.ID `json:"session,omitempty"`
	What    string     `json:"what"`
}

// CheckRecordings holds every recording's file against the ledger, and looks for
// files that the ledger does not know. It returns how many are proven.
func CheckRecordings(ctx context.Context, r *store.Reader, state string) (proven int, found []Damage, err error) {
	dir := recording.DirIn(state)
	files, err := recording.IDs(dir) // before the ledger: what begins meanwhile is known there
	if err != nil {
		return 0, nil, err
	}
	known := map[string]bool{}
	for s, err := range r.Recordings(ctx) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return proven, found, err
		}
		known[s.ID] = true
		what, err := recording.Check(dir, s)
		if err != nil {
			return proven, found, err
		}
		if what == "" {
			proven++
			continue
		}
		if _, err := r.Recording(ctx, s.ID); errors.Is(err, store.ErrNotFound) {
			continue // retention took it meanwhile
		}
		found = append(found, Damage{s.ID, s.Session, what})
	}
	for _, id := range files {
		if !known[id] && stillThere(ctx, r, dir, id) {
			found = append(found, Damage{ID: id, What: "the ledger does not know it"})
		}
	}
	return proven, found, nil
}

// stillThere reports whether there is a file that the ledger does not know: not
// one that retention took away meanwhile.
func stillThere(ctx context.Context, r *store.Reader, dir, id string) bool {
	if _, err := r.Recording(ctx, id); err == nil {
		return false
	}
	ids, err := recording.IDs(dir)
	if err != nil {
		return false
	}
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}
