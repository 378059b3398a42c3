package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/internal/core/session"
)

// VerifyOptions brings in what was kept outside the state directory. The zero
// value uses only what is inside.
type VerifyOptions struct {
	// Key is the public key as `up` printed it (the content of ledger.pub);
	// empty means the one in the state directory.
	Key string
	// Earlier are checkpoints saved earlier (what Checkpoint returned). Each
	// must be of this ledger and its records must still be there, unchanged:
	// that shows a ledger that was rolled back or written anew.
	Earlier [][]byte
}

// Report is what Verify found.
type Report struct {
	Key         string `json:"key"`       // the public key
	Records     int64  `json:"records"`   // leaves of the ledger
	Revisions   int64  `json:"revisions"` // records with a session in them
	Pruned      int64  `json:"pruned"`    // records whose content retention took away
	Sessions    int64  `json:"sessions"`
	Findings    int64  `json:"findings"`
	Recordings  int64  `json:"recordings"` // whose files a last statement proves
	Checkpoints int64  `json:"checkpoints"`
	// Root is the root of the tree over all records, in base64.
	Root string `json:"root"`
	// Damage is nil when everything is proven.
	Damage *Damage `json:"damage,omitempty"`
}

// Damage names the first record that was changed or removed.
type Damage struct {
	// Position is the record's position in the ledger, counted from 0; -1 when
	// the damage is not to a record.
	Position int64 `json:"position"`
	// Session and Revision say whose record it is or was, as far as known.
	Session  session.ID `json:"session,omitempty"`
	Revision uint32     `json:"revision,omitempty"`
	What     string     `json:"what"`
}

// String returns one line for a person.
func (d *Damage) String() string {
	switch {
	case d.Position < 0:
		return d.What
	case d.Session == "":
		return fmt.Sprintf("record %d: %s", d.Position, d.What)
	case d.Revision == 0:
		return fmt.Sprintf("record %d, session %s: %s", d.Position, d.Session, d.What)
	}
	return fmt.Sprintf("record %d, session %s revision %d: %s", d.Position, d.Session, d.Revision, d.What)
}

// Checkpoint returns the last signed checkpoint, for keeping elsewhere; nil when
// the ledger is empty.
func (r *Reader) Checkpoint(ctx context.Context) ([]byte, error) {
	var signed []byte
	err := r.db.QueryRowContext(ctx, `SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1`).Scan(&signed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return signed, explain(r.file, err)
}

// PublicKey returns the key that checkpoints are verified with, for keeping
// elsewhere.
func (r *Reader) PublicKey() (string, error) {
	_, key, err := loadVerifier(r.dir)
	return key, err
}

// Verify proves the ledger from the stored bytes: every record is there and
// hashes to the leaf that the signed checkpoints cover, all kept checkpoints
// are of one growing tree, each session's revisions are numbered without gaps,
// what is missing was taken away by retention, and the tables of sessions,
// findings and recordings say what the records say. The files of recordings are
// not its business: Recordings says what they must be. It stops at the first record that
// does not fit and reports it as Damage; an error means that Verify could not
// do its work.
//
// It reads one snapshot, so it may run beside a writer; the writer's -wal file
// cannot shrink meanwhile.
func (r *Reader) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	key, text, err := r.verifyKey(o.Key)
	if err != nil {
		return Report{}, err
	}
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Report{}, explain(r.file, err)
	}
	defer tx.Rollback()
	p := newProof(r, tx, key)
	p.report.Key = text
	damage, err := p.run(ctx, o.Earlier)
	p.report.Damage = damage
	p.report.Root = p.tree.Root().String()
	return p.report, err
}

// ErrKey says that the key to verify with is no ledger's public key.
var ErrKey = errors.New("no public key of a ledger")

func (r *Reader) verifyKey(given string) (note.Verifier, string, error) {
	if given == "" {
		return loadVerifier(r.dir)
	}
	key, err := note.NewVerifier(given)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	return key, given, nil
}
