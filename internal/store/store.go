// Package store keeps observations and sessions in one SQLite file, and the
// revisions of sessions in a tamper-evident ledger inside it.
//
// A state directory holds the database (with its -wal and -shm files), the
// ledger's key pair and a lock. One Store writes, in `up`; any number of Readers
// read meanwhile, in other processes too, and never hold a snapshot open
// between two items of an iteration, so a slow reader costs the writer nothing.
//
// What Append returned without error is acknowledged: it survives kill -9 and
// loss of power (docs/decisions/0003-ledger.md says by which settings, and what
// Verify proves).
//
// Lock order: Store.mu only; SQLite's own locks inside it.
package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store/ledger"
)

// Options tunes a Store. The zero value is right for `up`.
type Options struct {
	// Now is the clock for checkpoints and retention; time.Now when nil.
	Now func() time.Time
}

// Batch is what one Append stores, in order.
type Batch struct {
	Observations []event.Observation
	Revisions    []session.Revision
	Findings     []finding.Finding
	Recordings   []session.Recording
}

// Added is what an Append stored of a batch, besides observations.
type Added struct {
	Revisions []session.Revision // numbered
	Findings  []finding.Finding
}

// Store is the writer of a state directory. It is safe for concurrent use; its
// Reader sees everything acknowledged.
type Store struct {
	*Reader
	now      func() time.Time
	lock     *dirLock
	signer   note.Signer
	verifier note.Verifier

	mu    sync.Mutex // guards all below, and the one writer connection
	db    *sql.DB
	conn  *sql.Conn
	stmts statements
	tree  *ledger.Tree // as committed
	pack  packer
}

// Open opens or makes the store in dir for writing, migrates its schema and
// takes the directory's lock. The directory becomes 0700, its files are 0600.
//
// Errors to act on: *LockedError when another process writes here,
// *DamagedError when a file is not what it should be, *SchemaError when a newer
// version wrote it, ErrFull.
func Open(dir string, o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	s := &Store{now: o.Now}
	defer func() {
		if err != nil {
			_ = s.release()
		}
	}()
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if s.signer, err = loadOrMakeKey(dir); err != nil {
		return nil, err
	}
	if s.verifier, _, err = loadVerifier(dir); err != nil {
		return nil, err
	}
	if err := s.openWriter(dir); err != nil {
		return nil, err
	}
	s.Reader, err = OpenReadOnly(dir)
	return s, err
}

func (s *Store) openWriter(dir string) error {
	file, err := createDatabase(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if s.db, err = openSQL(file, "rw", writerPragmas); err != nil {
		return err
	}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return explain(file, err)
	}
	if err := migrate(ctx, s.conn, file); err != nil {
		return err
	}
	if s.stmts, err = prepare(ctx, s.conn); err != nil {
		return explain(file, err)
	}
	if s.pack, err = newPacker(); err != nil {
		return err
	}
	s.tree, err = loadTree(ctx, s.conn, file, s.verifier)
	return explain(file, err)
}

// Close closes the store. Everything acknowledged is already durable and
// covered by a checkpoint; Close only tidies up.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release()
}

// release closes what is open, in reverse order of opening, and keeps the first
// error.
func (s *Store) release() error {
	var first error
	keep := func(what string, err error) {
		if err != nil && first == nil {
			first = fmt.Errorf("close %s: %w", what, err)
		}
	}
	if s.Reader != nil {
		keep("reader", s.Reader.Close())
	}
	s.stmts.close()
	if s.conn != nil {
		keep("database", s.conn.Close())
	}
	if s.db != nil {
		keep("database", s.db.Close())
	}
	if s.lock != nil {
		keep("lock", s.lock.release())
	}
	return first
}
