package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store/ledger"
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
	Key         string // the public key
	Records     int64  // leaves of the ledger
	Revisions   int64  // records with a session in them
	Pruned      int64  // records whose content retention took away
	Sessions    int64
	Checkpoints int64
	// Root is the root of the tree over all records, in base64.
	Root string
	// Damage is nil when everything is proven.
	Damage *Damage
}

// Damage names the first record that was changed or removed.
type Damage struct {
	// Position is the record's position in the ledger, counted from 0; -1 when
	// the damage is not to a record.
	Position int64
	// Session and Revision say whose record it is or was, as far as known.
	Session  session.ID
	Revision uint32
	What     string
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
	panic("TODO")
}

// Verify proves the ledger.
func (r *Reader) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	_ = ledger.HashSize
	return Report{}, errors.ErrUnsupported
}
