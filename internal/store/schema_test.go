package store

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/core/session"
)

// TestMigrationKeepsAll opens a store of schema version 1 as that version wrote
// it: zstd frames, the table of sessions by id.
func TestMigrationKeepsAll(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 20 {
		add(t, s, sess(n%15))
		add(t, s, sess(n%15, ended))
	}
	want := all(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	downgrade(t, dir)
	s = open(t, dir)
	if diff := cmp.Diff(want, all(t, s)); diff != "" {
		t.Error(diff)
	}
	rep, err := s.Verify(context.Background(), VerifyOptions{})
	if err != nil || rep.Damage != nil || rep.Sessions != 15 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func all(t *testing.T, s *Store) (out []session.Session) {
	t.Helper()
	for v, err := range s.Sessions(context.Background(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// downgrade makes a store what it would be if version 1 had written it.
func downgrade(t *testing.T, dir string) {
	t.Helper()
	db, err := openSQL(filepath.Join(dir, databaseName), "rw", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	dec, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(`SELECT seq, body FROM record`)
	if err != nil {
		t.Fatal(err)
	}
	records, err := collect("", rows, func(h *hit) []any { return []any{&h.seq, &h.frame} })
	if err != nil || len(records) == 0 {
		t.Fatal(len(records), err)
	}
	for _, r := range records {
		content, err := dec.DecodeAll(r.frame, nil)
		if err != nil || r.frame[0] != shortFrame {
			t.Fatalf("record %d is no short frame: %v", r.seq, err)
		}
		exec(t, db, `UPDATE record SET body = ? WHERE seq = ?`, enc.EncodeAll(content, nil), r.seq)
	}
	_, err = db.Exec(`ALTER TABLE session RENAME TO kept; ALTER TABLE record RENAME TO records; ALTER TABLE checkpoint RENAME TO checkpoints;
		DROP TABLE chunk; DROP INDEX session_started; DROP INDEX session_open; DROP INDEX session_last; DROP INDEX record_prune;` + migrations[0] + `
		INSERT INTO session SELECT * FROM kept; INSERT INTO record SELECT * FROM records; INSERT INTO checkpoint SELECT * FROM checkpoints;
		DROP TABLE kept; DROP TABLE records; DROP TABLE checkpoints; DROP TABLE finding; DROP TABLE recording; PRAGMA user_version = 1`)
	if err != nil {
		t.Fatal(err)
	}
}
