package store

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store/ledger"
)

// raw opens the database as somebody without Sallyport would.
func raw(t testing.TB, dir string) *sql.DB {
	t.Helper()
	db, err := openSQL(filepath.Join(dir, databaseName), "rw", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	res, err := db.Exec(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		t.Fatalf("%s: changed nothing", query)
	}
}

func verify(t testing.TB, dir string, o VerifyOptions) Report {
	t.Helper()
	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rep, err := r.Verify(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// filled returns the directory of a closed store: ten sessions with two
// revisions each, one commit for every session's both.
func filled(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 10 {
		add(t, s, sess(n), sess(n, ended))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVerifyProvesAnUntouchedLedger(t *testing.T) {
	rep := verify(t, filled(t), VerifyOptions{})
	if rep.Damage != nil {
		t.Fatal(rep.Damage)
	}
	if rep.Records != 20 || rep.Revisions != 20 || rep.Sessions != 10 || rep.Checkpoints != 10 || rep.Root == "" {
		t.Errorf("report = %+v", rep)
	}
}

func TestVerifyProvesAnEmptyLedger(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if rep := verify(t, dir, VerifyOptions{}); rep.Damage != nil || rep.Records != 0 {
		t.Errorf("report = %+v", rep)
	}
}

// forge replaces the content of a record by one of another command, with a frame
// that unpacks.
func forge(t *testing.T, db *sql.DB, seq int64, withHashes bool) {
	t.Helper()
	var frame []byte
	if err := db.QueryRow(`SELECT body FROM record WHERE seq = ?`, seq).Scan(&frame); err != nil {
		t.Fatal(err)
	}
	dec, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	b, err := dec.DecodeAll(frame, nil)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(`"user":"`), []byte(`"user":"x`), 1)
	b = bytes.Replace(b, []byte(`{"finding":{"id":"`), []byte(`{"finding":{"id":"x`), 1)
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, `UPDATE record SET body = ? WHERE seq = ?`, p.pack(b), seq)
	if withHashes {
		rehash(t, db)
	}
}

// rehash makes all stored hashes fit the stored contents, as an attacker who
// knows the format but has no key would.
func rehash(t *testing.T, db *sql.DB) {
	t.Helper()
	dec, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	rows, err := db.Query(`SELECT body FROM record ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	bodies, err := collect("", rows, func(b *[]byte) []any { return []any{b} })
	if err != nil {
		t.Fatal(err)
	}
	var tree ledger.Tree
	for seq, body := range bodies {
		b, err := dec.DecodeAll(body, nil)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, db, `UPDATE record SET hashes = ? WHERE seq = ?`, joinHashes(tree.Append(ledger.Leaf(b))), seq)
	}
}

func TestVerifyNamesTheFirstRecordChangedOrRemoved(t *testing.T) {
	tests := []struct {
		name   string
		damage func(*testing.T, *sql.DB)
		at     int64
		id     session.ID
		what   string
	}{
		{"content changed", func(t *testing.T, db *sql.DB) {
			forge(t, db, 13, false)
			forge(t, db, 7, false)
		}, 7, "sess000000000003", "does not have the hash"},
		{"content and hashes changed", func(t *testing.T, db *sql.DB) { forge(t, db, 6, true) }, 6, "sess000000000003", "does not fit the signed checkpoint"},
		{"one byte of a frame", func(t *testing.T, db *sql.DB) {
			exec(t, db, `UPDATE record SET body = CAST(substr(body, 1, 20) || x'00' || substr(body, 22) AS BLOB) WHERE seq = 9`)
		}, 9, "", "content was changed"},
		{"record removed", func(t *testing.T, db *sql.DB) { exec(t, db, `DELETE FROM record WHERE seq = 4`) }, 4, "sess000000000002", "was removed"},
		{"record removed, last of its session", func(t *testing.T, db *sql.DB) { exec(t, db, `DELETE FROM record WHERE seq = 5`) }, 5, "sess000000000002", "was removed"},
		{"record removed and the rest moved up", func(t *testing.T, db *sql.DB) {
			exec(t, db, `DELETE FROM record WHERE seq IN (4, 5)`)
			exec(t, db, `UPDATE record SET seq = seq - 2, prev = prev - 2 WHERE seq > 5`)
			exec(t, db, `UPDATE session SET seq = seq - 2 WHERE seq > 5`)
			exec(t, db, `DELETE FROM session WHERE id = 'sess000000000002'`)
			rehash(t, db)
		}, 4, "sess000000000003", "does not fit the signed checkpoint"},
		{"end removed", func(t *testing.T, db *sql.DB) { exec(t, db, `DELETE FROM record WHERE seq >= 18`) }, 18, "", "was removed"},
		{"end removed with its checkpoint", func(t *testing.T, db *sql.DB) {
			exec(t, db, `DELETE FROM record WHERE seq = 19`)
			exec(t, db, `DELETE FROM checkpoint WHERE size = 20`)
		}, 18, "sess000000000009", "no checkpoint covers it"},
		{"content dropped as if pruned", func(t *testing.T, db *sql.DB) { exec(t, db, `UPDATE record SET body = NULL WHERE seq = 8`) }, 8, "", "no prune record says so"},
		{"hash changed", func(t *testing.T, db *sql.DB) { exec(t, db, `UPDATE record SET hashes = zeroblob(64) WHERE seq = 3`) }, 3, "sess000000000001", "hash"},
		{"checkpoint changed", func(t *testing.T, db *sql.DB) {
			exec(t, db, `UPDATE checkpoint SET note = replace(CAST(note AS TEXT), '2026', '2025') WHERE size = 10`)
		}, 9, "", "checkpoint over it was changed"},
		{"all checkpoints removed", func(t *testing.T, db *sql.DB) { exec(t, db, `DELETE FROM checkpoint`) }, 0, "sess000000000000", "no checkpoint covers it"},
		{"session row removed", func(t *testing.T, db *sql.DB) { exec(t, db, `DELETE FROM session WHERE seq = 11`) }, 11, "sess000000000005", "removed from the table"},
		{"session row made to hide", func(t *testing.T, db *sql.DB) { exec(t, db, `UPDATE session SET superseded = 1 WHERE seq = 15`) }, 15, "sess000000000007", "says something else"},
		{"session row points at an old revision", func(t *testing.T, db *sql.DB) {
			exec(t, db, `UPDATE session SET seq = 14 WHERE seq = 15`)
		}, 15, "sess000000000007", "says something else"},
		{"session row invented", func(t *testing.T, db *sql.DB) {
			exec(t, db, `INSERT INTO session SELECT 'zzzz', seq, revision, digest, started, last, open, superseded, unexplained,
				kind, channel, container, actors FROM session WHERE seq = 3`)
		}, 3, "zzzz", "no record of it"},
		{"link between revisions", func(t *testing.T, db *sql.DB) { exec(t, db, `UPDATE record SET prev = 2 WHERE seq = 17`) }, 17, "sess000000000008", "does not point"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t)
			tt.damage(t, raw(t, dir))
			d := verify(t, dir, VerifyOptions{}).Damage
			if d == nil {
				t.Fatal("nothing found")
			}
			if d.Position != tt.at || d.Session != tt.id || !strings.Contains(d.What, tt.what) {
				t.Errorf("damage = %v, want position %d, session %q, %q", d, tt.at, tt.id, tt.what)
			}
		})
	}
}

// Somebody who holds the state directory, key and all, can write a consistent
// ledger that says less. A checkpoint saved elsewhere shows it.
func TestVerifyWithASavedCheckpointShowsRollbackAndRewriting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	add(t, s, sess(0), sess(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	add(t, s, sess(2))
	saved, err := s.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, sess(3))
	key, err := s.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	o := VerifyOptions{Key: key, Earlier: [][]byte{saved}}
	if d := verify(t, dir, o).Damage; d != nil {
		t.Errorf("untouched: %v", d)
	}

	if d := verify(t, old, VerifyOptions{}).Damage; d != nil {
		t.Errorf("the old copy is consistent in itself, but: %v", d)
	}
	if d := verify(t, old, o).Damage; d == nil || d.Position != 2 || !strings.Contains(d.What, "was removed") {
		t.Errorf("rolled back: %v", d)
	}

	s, err = Open(old, Options{})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, sess(7), sess(8))
	_ = s.Close()
	if d := verify(t, old, o).Damage; d == nil || !strings.Contains(d.What, "one of the first 3 records was changed") {
		t.Errorf("rewritten with the key: %v", d)
	}

	other := filled(t)
	if d := verify(t, other, o).Damage; d == nil || !strings.Contains(d.What, "checkpoint") {
		t.Errorf("ledger of another key: %v", d)
	}
}

func TestPruneKeepsTheProofAndRunningSessions(t *testing.T) {
	dir := t.TempDir()
	now := epoch.Add(time.Hour)
	s, err := Open(dir, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add(t, s, sess(0)) // keeps running
	for n := range 600 {
		add(t, s, sess(n+1), sess(n+1, ended))
	}
	p, err := s.Prune(context.Background(), Retention{Age: 55 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if p.Sessions != 298 { // those that had ended five minutes after the epoch
		t.Errorf("pruned %d sessions, want 298", p.Sessions)
	}
	rep := verify(t, dir, VerifyOptions{})
	if rep.Damage != nil {
		t.Error(rep.Damage)
	}
	if rep.Sessions != 601-298 || rep.Pruned != 2*298 {
		t.Errorf("report = %+v", rep)
	}
	if _, _, err := s.Session(context.Background(), string(sess(0).ID)); err != nil {
		t.Errorf("the running session: %v", err)
	}
	// A late revision of a pruned session starts it again.
	add(t, s, sess(1, ended))
	if d := verify(t, dir, VerifyOptions{}).Damage; d != nil {
		t.Error(d)
	}
	// A prune record cannot be made to cover more.
	exec(t, raw(t, dir), `UPDATE record SET body = NULL WHERE seq = 1100`)
	if d := verify(t, dir, VerifyOptions{}).Damage; d == nil || d.Position != 1100 {
		t.Errorf("damage = %v, want record 1100", d)
	}
}

func TestPruneBySize(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 40 {
		b := Batch{Observations: noise(200, n)}
		if _, err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		add(t, s, sess(n, ended))
	}
	before, err := s.Prune(context.Background(), Retention{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Prune(context.Background(), Retention{Bytes: before.Bytes / 2})
	if err != nil {
		t.Fatal(err)
	}
	if p.Bytes > before.Bytes/2 || p.Observations == 0 || p.Sessions != 0 {
		t.Errorf("pruned = %+v of %+v", p, before)
	}
	if d := verify(t, dir, VerifyOptions{}).Damage; d != nil {
		t.Error(d)
	}
}

func TestThinnedCheckpointsStillProve(t *testing.T) {
	dir := filled(t)
	exec(t, raw(t, dir), `DELETE FROM checkpoint WHERE size NOT IN (8, 20)`)
	if rep := verify(t, dir, VerifyOptions{}); rep.Damage != nil || rep.Checkpoints != 2 {
		t.Errorf("report = %+v", rep)
	}
	db := raw(t, dir)
	forge(t, db, 12, true)
	d := verify(t, dir, VerifyOptions{}).Damage
	if d == nil || d.Position != 8 || !strings.Contains(d.What, "up to 19") {
		t.Errorf("damage = %v, want one of records 8 to 19", d)
	}
}
