package store

import (
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sallyport/sallyport/internal/core/session"
)

// ErrFull says that there was no space to write. Nothing of the batch was
// stored; the same call works again as soon as there is space.
var ErrFull = errors.New("no space left for the store")

// ErrNotFound says that no session has the id that was asked for.
var ErrNotFound = errors.New("no such session")

// ErrNoStore says that a directory holds no store to read.
var ErrNoStore = errors.New("no store here")

// ErrAmbiguous says that an id prefix fits more than one session.
type ErrAmbiguous struct {
	Prefix  string
	Matches []session.ID // the first few
}

// Error implements error.
func (e *ErrAmbiguous) Error() string {
	ids := make([]string, len(e.Matches))
	for i, id := range e.Matches {
		ids[i] = string(id)
	}
	return fmt.Sprintf("session %q is ambiguous: %s", e.Prefix, strings.Join(ids, ", "))
}

// LockedError says that another process writes to the state directory.
type LockedError struct {
	Dir string
	PID int // 0 when it could not be told
}

// Error implements error.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("state directory %s: another sallyport writes to it", e.Dir)
	}
	return fmt.Sprintf("state directory %s: sallyport with pid %d writes to it", e.Dir, e.PID)
}

// Hint says what to do about it.
func (e *LockedError) Hint() string {
	return "stop the other one, or give this one a directory of its own with --state"
}

// SchemaError says that a store's schema is not the one this version works with.
type SchemaError struct {
	File      string
	Have, Max int
}

// Error implements error.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("store %s: schema version %d, this sallyport knows %d", e.File, e.Have, e.Max)
}

// Hint says what to do about it.
func (e *SchemaError) Hint() string {
	if e.Have < e.Max {
		return "run `sallyport up` once on it: it brings the store up to date"
	}
	return "use the newer sallyport that wrote it, or another --state directory"
}

// DamagedError says that a file of the store is not what was written.
type DamagedError struct {
	File string
	// Page counts from 1; 0 when unknown. Offset is in bytes, -1 when unknown.
	Page   int64
	Offset int64
	What   string
}

// Error implements error.
func (e *DamagedError) Error() string {
	where := ""
	if e.Page > 0 {
		where = fmt.Sprintf(": page %d", e.Page)
	}
	if e.Offset >= 0 {
		where += fmt.Sprintf(" (byte %d)", e.Offset)
	}
	return fmt.Sprintf("store %s%s is damaged: %s", e.File, where, e.What)
}

// Hint says what to do about it.
func (e *DamagedError) Hint() string {
	return "what comes before it is still read; `sallyport verify` names the first record that does not fit, and " +
		"`sqlite3 FILE .recover` may save more; to go on watching, move the state directory aside and keep it as evidence"
}

// sqliteCode returns the primary and the extended result code in err.
func sqliteCode(err error) (primary, extended int) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0, 0
	}
	return e.Code() & 0xff, e.Code()
}

// explain turns SQLite's errors that a person must act on into typed ones and
// names the file in all others.
func explain(file string, err error) error {
	if err == nil {
		return nil
	}
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return err
	}
	switch code, extended := sqliteCode(err); {
	case code == sqlite3.SQLITE_FULL, extended == sqlite3.SQLITE_IOERR_SHMSIZE, isNoSpace(err):
		return fmt.Errorf("store %s: %w", file, ErrFull)
	case code == sqlite3.SQLITE_IOERR && !hasSpace(file):
		return fmt.Errorf("store %s: %w", file, ErrFull)
	case code == sqlite3.SQLITE_CORRUPT, code == sqlite3.SQLITE_NOTADB:
		return locate(file, err)
	case extended == sqlite3.SQLITE_IOERR_SHORT_READ:
		return &DamagedError{File: file, Offset: -1, What: "it ends before its last page"}
	}
	return fmt.Errorf("store %s: %w", file, err)
}
