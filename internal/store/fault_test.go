package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
)

func TestLockNamesTheOtherWriter(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(dir, Options{})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatalf("second writer: %v", err)
	}
	if _, err := OpenReadOnly(dir); err != nil {
		t.Errorf("a reader beside the writer: %v", err)
	}
}

func TestDirectoryAndFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	add(t, s, sess(1))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(entries, dirEntry(t, dir)) {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, Options{}); err == nil {
		t.Error("took over a directory with other files that is open to others")
	}
}

func dirEntry(t *testing.T, dir string) os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	return entries[0]
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := filled(t)
	if _, err := raw(t, dir).Exec(`PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	var schema *SchemaError
	if _, err := Open(dir, Options{}); !errors.As(err, &schema) || schema.Have != 99 {
		t.Errorf("writer: %v", err)
	}
	if _, err := OpenReadOnly(dir); !errors.As(err, &schema) {
		t.Errorf("reader: %v", err)
	}
}

func TestNoStore(t *testing.T) {
	if _, err := OpenReadOnly(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNoStore) {
		t.Error(err)
	}
}

func TestLostKeyIsNotReplaced(t *testing.T) {
	dir := filled(t)
	if err := os.Remove(filepath.Join(dir, privateKeyName)); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Open(dir, Options{}); !errors.As(err, &damaged) || !strings.HasSuffix(damaged.File, privateKeyName) {
		t.Error(err)
	}
}

func TestNothingIsSignedOnTopOfAForgedLedger(t *testing.T) {
	dir := filled(t)
	forge(t, raw(t, dir), 3, true)
	var damaged *DamagedError
	if _, err := Open(dir, Options{}); !errors.As(err, &damaged) {
		t.Error(err)
	}
}

// mountSmall mounts a tmpfs of the given size and returns where, unmounted again
// at the end of the test.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := osexec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := osexec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	testbed.Require(t, testbed.Root)
	mount := mountSmall(t, "2m")
	dir := filepath.Join(mount, "state")
	s := open(t, dir)
	t.Cleanup(func() { _ = s.Close() }) // before the unmount

	acked := map[session.ID]bool{}
	next := 0
	batch := func() (Batch, session.ID) {
		v := sess(next, ended)
		return Batch{Observations: noise(300, next), Revisions: []session.Revision{{Session: v}}}, v.ID
	}
	fill := func() error {
		for range 5000 {
			b, id := batch()
			if _, err := s.Append(context.Background(), b); err != nil {
				return err
			}
			acked[id] = true
			next++
		}
		return nil
	}
	check := func(when string) {
		t.Helper()
		for id := range acked {
			if _, _, err := s.Session(context.Background(), string(id)); err != nil {
				t.Errorf("%s: acknowledged session %s: %v", when, id, err)
			}
		}
		if got := len(sessions(t, s.Reader, Query{})); got != len(acked) {
			t.Errorf("%s: %d sessions are stored, %d were acknowledged", when, got, len(acked))
		}
		if d := verify(t, dir, VerifyOptions{}).Damage; d != nil {
			t.Errorf("%s: %v", when, d)
		}
	}

	if err := fill(); !errors.Is(err, ErrFull) {
		t.Fatalf("full disk: %v, want ErrFull", err)
	}
	if err := fill(); !errors.Is(err, ErrFull) {
		t.Errorf("still full: %v, want ErrFull", err)
	}
	check("full")
	remount(t, mount, "4m")
	before := len(acked)
	if err := fill(); !errors.Is(err, ErrFull) || len(acked) == before {
		t.Errorf("with space again: %v after %d more", err, len(acked)-before)
	}
	check("full again")
	if err := s.Close(); err != nil {
		t.Errorf("close on a full disk: %v", err)
	}
	if again, err := Open(dir, Options{}); err == nil {
		_ = again.Close() // there may be just enough space to begin
	} else if !errors.Is(err, ErrFull) {
		t.Errorf("open on a full disk: %v, want ErrFull", err)
	}
	remount(t, mount, "6m")
	s = open(t, dir)
	check("opened again")
	_ = s.Close()
}

func remount(t *testing.T, mount, size string) {
	t.Helper()
	if out, err := osexec.Command("mount", "-o", "remount,size="+size, mount).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
}

// A copy kept as evidence can be read from a medium that takes no writes, and
// reading leaves the database as it was.
func TestReadOnlyMedium(t *testing.T) {
	testbed.Require(t, testbed.Root)
	dir, mount := filled(t), t.TempDir()
	file := filepath.Join(dir, databaseName)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--bind", dir, mount}, {"-o", "remount,bind,ro", mount}} {
		if out, err := osexec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
		if args[0] == "--bind" {
			t.Cleanup(func() { _ = osexec.Command("umount", mount).Run() })
		}
	}
	if n, err := readAll(mount); n != 10 || err != nil {
		t.Errorf("%d of 10 sessions from a read-only medium: %v", n, err)
	}
	if n, err := readAll(dir); n != 10 || err != nil {
		t.Errorf("%d of 10 sessions: %v", n, err)
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("reading changed the database: %v", err)
	}
}

const writerEnv = "SALLYPORT_STORE_WRITER" // directory; the test binary becomes a writer

// TestMain lets the test binary be the writer that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := writeForever(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeForever appends and prints each revision that was acknowledged.
func writeForever(dir string, out io.Writer) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	from, err := s.Last(context.Background())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "open")
	for n := int(from) + 1; ; n++ {
		a, b := sess(n), sess(max(0, n-3), ended)
		stored, err := s.Append(context.Background(), Batch{
			Observations: noise(n%50, n),
			Revisions:    []session.Revision{{Session: a}, {Session: b}},
		})
		if err != nil {
			return err
		}
		for _, r := range stored.Revisions {
			fmt.Fprintln(out, r.Session.ID, r.Session.Revision)
		}
		if n%20 == 0 {
			if _, err := s.Prune(context.Background(), Retention{Bytes: 1 << 20}); err != nil {
				return err
			}
		}
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]uint64{} // revisions by session
	for round := range 25 {
		runAndKill(t, dir, time.Duration(rand.IntN(120))*time.Millisecond, acked)
		r, err := OpenReadOnly(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		rep, err := r.Verify(context.Background(), VerifyOptions{})
		if err != nil || rep.Damage != nil {
			t.Fatalf("round %d: %v, %v", round, err, rep.Damage)
		}
		lost := 0
		for id, number := range acked {
			s, _, err := r.Session(context.Background(), id)
			if errors.Is(err, ErrNotFound) && rep.Pruned > 0 {
				lost++ // counted below: only retention may have taken it
				continue
			}
			if err != nil || uint64(s.Revision) < number {
				t.Errorf("round %d: session %s revision %d was acknowledged: %v, %v", round, id, number, s.Revision, err)
			}
		}
		if int64(lost) > rep.Pruned {
			t.Errorf("round %d: %d sessions are gone, only %d records were pruned", round, lost, rep.Pruned)
		}
		_ = r.Close()
	}
	t.Logf("%d sessions acknowledged", len(acked))
}

func runAndKill(t *testing.T, dir string, after time.Duration, acked map[string]uint64) {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, number, ok := strings.Cut(lines.Text(), " ")
		if !ok { // "open": from here on at a random point
			kill = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err == nil {
			acked[id] = n
		}
	}
	_ = cmd.Wait()
	if kill == nil {
		t.Fatalf("the writer did not open the store: %s", stderr.String())
	}
	if stderr.Len() > 0 {
		t.Fatalf("the writer: %s", stderr.String())
	}
}
