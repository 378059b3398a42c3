package store

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stuffed returns a closed store with a file of some hundred pages.
func stuffed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 300 {
		b := Batch{Observations: noise(30, n)}
		if _, err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		add(t, s, big(n))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// readAll reads everything there is and returns how much of it came and the
// first error.
func readAll(dir string) (sessions int, first error) {
	r, err := OpenReadOnly(dir)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	ctx := context.Background()
	for _, err := range r.Sessions(ctx, Query{}) {
		if keep(err); err == nil {
			sessions++
		}
	}
	for _, err := range r.Observations(ctx, time.Time{}, time.Time{}) {
		keep(err)
	}
	for _, err := range r.Follow(ctx, -1) {
		keep(err)
	}
	rep, err := r.Verify(ctx, VerifyOptions{})
	keep(err)
	if err == nil && rep.Damage != nil {
		keep(errors.New(rep.Damage.String()))
	}
	return sessions, first
}

func edit(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFileIsNamed(t *testing.T) {
	tests := []struct {
		name   string
		change func([]byte) []byte
		read   bool // whether something can still be read
		what   string
	}{
		{"not a database", func(b []byte) []byte { return bytes.Repeat([]byte("junk"), 5000) }, false, "(byte 0)"},
		{"header", func(b []byte) []byte { b[3] ^= 0xff; return b }, false, "(byte 0)"},
		{"cut off", func(b []byte) []byte { return b[:100*4096] }, false, "(byte 409600) is damaged: it is cut off there"},
		{"a page in the middle", func(b []byte) []byte {
			copy(b[100*4096:], bytes.Repeat([]byte{0xa5}, 4096))
			return b
		}, true, "page 101 (byte 409600)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := stuffed(t)
			edit(t, filepath.Join(dir, databaseName), tt.change)
			n, err := readAll(dir)
			if err == nil {
				t.Fatal("nothing noticed")
			}
			t.Logf("%d sessions read, then: %v", n, err)
			if tt.read && n == 0 {
				t.Error("nothing can be read")
			}
			if !strings.Contains(err.Error(), databaseName) || !strings.Contains(err.Error(), tt.what) {
				t.Errorf("the error does not name the file and %q", tt.what)
			}
			s, err := Open(dir, Options{})
			if err == nil {
				_ = s.Close()
				return // the damage is not where the writer looks
			}
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Hint() == "" {
				t.Errorf("writer: %v", err)
			}
		})
	}
}

// Whatever the damage, readers return, do not panic, and either deliver
// everything or say that something is wrong.
func TestAnyDamageIsSurvived(t *testing.T) {
	dir := stuffed(t)
	file := filepath.Join(dir, databaseName)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	silent := 0
	for range 60 {
		b := bytes.Clone(whole)
		for range 1 + r.IntN(20) {
			b[r.IntN(len(b))] = byte(r.Int())
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := readAll(dir); err == nil {
			silent++ // in free space, or a byte that was the same
			if n != 300 {
				t.Errorf("%d of 300 sessions read without an error", n)
			}
		}
	}
	t.Logf("%d of 60 were without effect", silent)
}

// A WAL that ends anywhere, as after a crash of the machine, costs at most what
// was in it; the rest opens and verifies.
func TestTruncatedWAL(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 30 {
		add(t, s, big(n))
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(filepath.Join(copied, databaseName+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	before := 31
	const schema = 1 << 17 // more than the schema takes of it
	for cut := len(wal) - 1; cut > schema; cut -= len(wal) / 13 {
		_ = os.Remove(filepath.Join(copied, databaseName+"-shm"))
		if err := os.WriteFile(filepath.Join(copied, databaseName+"-wal"), wal[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := readAll(copied)
		if errors.Is(err, ErrNoStore) {
			break // cut before the schema was written
		}
		if err != nil || n > before {
			t.Fatalf("cut at %d of %d: %d sessions, %v", cut, len(wal), n, err)
		}
		before = n
	}
	if before > 20 {
		t.Errorf("%d sessions after the last cut: nothing was tested", before)
	}
}
