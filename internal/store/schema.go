package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// databaseName is the database's file name in the state directory.
const databaseName = "sallyport.db"

// applicationID marks the file as ours ("SaPo"), for file(1) and for us.
const applicationID = 0x5361506f

// Pragmas. WAL lets readers go on while the writer commits. With
// synchronous=FULL every commit is synced, so that acknowledged means durable
// even when the power fails; a commit per batch makes that cheap. The caches
// bound the memory: 2 MiB for the writer, 1 MiB for each of readersMax.
var (
	writerPragmas = []string{
		"busy_timeout(5000)",
		"auto_vacuum(INCREMENTAL)", // holds for a new file only: lets Prune give space back
		"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-2048)",
		"journal_size_limit(16777216)", "temp_store(FILE)", "foreign_keys(OFF)", "trusted_schema(OFF)",
	}
	readerPragmas = []string{
		"busy_timeout(5000)", "query_only(ON)", "cache_size(-1024)", "temp_store(FILE)", "trusted_schema(OFF)",
	}
)

const readersMax = 4

// migrations bring the schema from version i to i+1. The version is SQLite's
// user_version. A migration that was released is never edited.
//
// chunk: observations in the order in which they came, many to a row: their wire
// form, one to a line, as a zstd frame with checksum. Times are of the earliest
// and the latest, in ns since 1970.
//
// record: the ledger, one row per leaf, seq from 0 without gaps. body is the
// leaf's content (a frame of JSON, see frame.go), NULL once pruned; hashes are those that
// ledger.Tree.Append returned for it; prev is the seq of the session's revision
// before.
//
// session: for queries, the last revision of each session; all of it can be
// derived from record, and Verify does so.
var migrations = []string{
	`
PRAGMA application_id = 1398886511;
CREATE TABLE chunk (
	id       INTEGER PRIMARY KEY,
	earliest INTEGER NOT NULL,
	latest   INTEGER NOT NULL,
	count    INTEGER NOT NULL,
	body     BLOB NOT NULL
);
CREATE INDEX chunk_time ON chunk (latest, earliest);
CREATE TABLE record (
	seq    INTEGER PRIMARY KEY,
	kind   INTEGER NOT NULL,
	prev   INTEGER,
	hashes BLOB NOT NULL,
	body   BLOB
);
CREATE INDEX record_prune ON record (seq) WHERE kind = 2;
CREATE TABLE session (
	id          TEXT PRIMARY KEY,
	seq         INTEGER NOT NULL,
	revision    INTEGER NOT NULL,
	digest      BLOB NOT NULL,
	started     INTEGER NOT NULL,
	last        INTEGER NOT NULL,
	open        INTEGER NOT NULL,
	superseded  INTEGER NOT NULL,
	unexplained INTEGER NOT NULL,
	kind        TEXT NOT NULL,
	channel     TEXT NOT NULL,
	container   BLOB NOT NULL,
	actors      BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_started ON session (started, id);
CREATE INDEX session_open ON session (started) WHERE open = 1;
CREATE INDEX session_last ON session (last) WHERE open = 0;
CREATE TABLE checkpoint (
	size INTEGER PRIMARY KEY,
	note BLOB NOT NULL
);
`,
	// From here on records may be short frames, which earlier versions cannot
	// read. The table of sessions is now in the order in which they came: by their
	// ids, which are random, each row was another page to read and to write.
	`
CREATE TABLE session2 (
	id          TEXT NOT NULL,
	seq         INTEGER NOT NULL,
	revision    INTEGER NOT NULL,
	digest      BLOB NOT NULL,
	started     INTEGER NOT NULL,
	last        INTEGER NOT NULL,
	open        INTEGER NOT NULL,
	superseded  INTEGER NOT NULL,
	unexplained INTEGER NOT NULL,
	kind        TEXT NOT NULL,
	channel     TEXT NOT NULL,
	container   BLOB NOT NULL,
	actors      BLOB NOT NULL
);
INSERT INTO session2 SELECT * FROM session ORDER BY seq;
DROP TABLE session;
ALTER TABLE session2 RENAME TO session;
CREATE UNIQUE INDEX session_id ON session (id);
CREATE INDEX session_started ON session (started, id);
CREATE INDEX session_open ON session (started) WHERE open = 1;
CREATE INDEX session_last ON session (last) WHERE open = 0;
`,
	// finding: for queries; all of it can be derived from record.
	`
CREATE TABLE finding (
	id       TEXT PRIMARY KEY,
	seq      INTEGER NOT NULL,
	time     INTEGER NOT NULL,
	severity INTEGER NOT NULL,
	rule     TEXT NOT NULL,
	session  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX finding_time ON finding (time, id);
CREATE INDEX finding_session ON finding (session) WHERE session <> '';
`,
	// recording: the last statement about each recording; all of it can be derived
	// from record.
	`
CREATE TABLE recording (
	id      TEXT PRIMARY KEY,
	seq     INTEGER NOT NULL,
	state   TEXT NOT NULL,
	started INTEGER NOT NULL,
	size    INTEGER NOT NULL,
	session TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX recording_started ON recording (started, id);
`,
}

// openSQL returns a pool for file; it opens nothing yet. The mode is "rw" or
// "ro", which changes no byte of the database whatever is asked of it.
func openSQL(file, mode string, pragmas []string) (*sql.DB, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", file, err)
	}
	query := url.Values{"_pragma": pragmas}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: "mode=" + mode + "&" + query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", file, err)
	}
	return db, nil
}

// createDatabase makes the file with the right mode before SQLite sees it; its
// -wal and -shm files take the mode over.
func createDatabase(dir string) (string, error) {
	file := filepath.Join(dir, databaseName)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if os.IsExist(err) {
		return file, nil
	}
	if err != nil {
		return "", fmt.Errorf("create store: %w", err)
	}
	return file, f.Close()
}

// migrate brings the schema up to date, in one transaction: a store is of one
// version at any time.
func migrate(ctx context.Context, conn *sql.Conn, file string) error {
	have, err := schemaVersion(ctx, conn, file)
	if err != nil {
		return err
	}
	if have > len(migrations) {
		return &SchemaError{File: file, Have: have, Max: len(migrations)}
	}
	if have == len(migrations) {
		return nil
	}
	steps := strings.Join(migrations[have:], "\n")
	_, err = conn.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT", steps, len(migrations)))
	if err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK")
		return explain(file, fmt.Errorf("migrate to schema version %d: %w", len(migrations), err))
	}
	return nil
}

func schemaVersion(ctx context.Context, conn *sql.Conn, file string) (int, error) {
	var version, id int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, explain(file, err)
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return 0, explain(file, err)
	}
	if version > 0 && id != applicationID {
		return 0, &DamagedError{File: file, Offset: 68, What: "it is an SQLite database, but not one of Sallyport"}
	}
	return version, nil
}
