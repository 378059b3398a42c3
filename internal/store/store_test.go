package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// sess returns session n, running; edit changes it.
func sess(n int, edit ...func(*session.Session)) session.Session {
	uid := uint32(1000 + n%3)
	s := session.Session{
		ID:          session.ID(fmt.Sprintf("sess%012d", n)),
		Kind:        session.KindExec,
		Channel:     event.ChannelDockerExec,
		State:       session.StateRunning,
		Started:     epoch.Add(time.Duration(n) * time.Second),
		Attribution: session.Attribution{Level: session.LevelStrong, Via: []string{"docker-request"}},
		Actor:       session.Actor{Kind: session.ActorUnix, User: []string{"alice", "bob", "carol"}[n%3], UID: &uid},
		Target: session.Target{
			ContainerID:   event.ContainerID(fmt.Sprintf("%064x", n%5)),
			ContainerName: fmt.Sprintf("web-%d", n%5),
			Image:         "busybox",
		},
		Argv:       []string{"sh", "-c", "id"},
		ArgvSource: "request",
	}
	for _, e := range edit {
		e(&s)
	}
	return s
}

func ended(s *session.Session) {
	end, code := s.Started.Add(time.Second), 0
	s.State, s.Ended, s.ExitCode = session.StateEnded, &end, &code
}

func add(t testing.TB, s *Store, sessions ...session.Session) []session.Revision {
	t.Helper()
	var b Batch
	for _, v := range sessions {
		b.Revisions = append(b.Revisions, session.Revision{Session: v, Changed: []string{"new"}})
	}
	stored, err := s.Append(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	return stored.Revisions
}

func sessions(t testing.TB, r *Reader, q Query) []session.Session {
	t.Helper()
	var out []session.Session
	for s, err := range r.Sessions(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestAppendNumbersAndDropsEqualRevisions(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	stored := add(t, s, sess(1), sess(2), sess(1), sess(1, ended))
	var got []uint32
	for _, r := range stored {
		got = append(got, r.Session.Revision)
	}
	if diff := cmp.Diff([]uint32{1, 1, 2}, got); diff != "" {
		t.Error(diff)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if again := add(t, s, sess(1, ended), sess(2)); len(again) != 0 {
		t.Errorf("the same sessions after a restart were stored again: %v", again)
	}
	last, revs, err := s.Session(context.Background(), "sess000000000001")
	if err != nil {
		t.Fatal(err)
	}
	want := sess(1, ended)
	want.Revision = 2
	if diff := cmp.Diff(want, last); diff != "" {
		t.Error(diff)
	}
	if len(revs) != 2 || revs[0].Session.Revision != 1 || revs[0].Session.State != session.StateRunning {
		t.Errorf("revisions = %+v", revs)
	}
}

// noise returns n execs of about the size and variety of real ones.
func noise(n, seed int) []event.Observation {
	out := make([]event.Observation, n)
	for i := range out {
		id := event.ProcessID{PID: uint32(1000 + i + seed*n), Start: uint64(i+seed*n) * 1234567}
		login := uint32(1000)
		out[i] = event.ProcessExec{
			Header:    event.Header{Time: epoch.Add(time.Duration(i+seed*n) * time.Millisecond), Witness: event.WitnessKernel},
			ID:        id,
			Parent:    event.ProcessID{PID: 999, Start: 99},
			Entry:     event.ProcessID{PID: 900, Start: 90},
			Container: event.ContainerID(fmt.Sprintf("%064x", i%7)),
			NSPID:     uint32(i),
			Filename:  "/bin/busybox",
			Argv:      event.Argv{Args: []string{"sh", "-c", fmt.Sprintf("test -f /tmp/%x && echo %d", i*seed, i)}},
			Exe:       event.Executable{Path: "/bin/busybox", Device: 45, Inode: 123456},
			Cred:      event.Cred{UID: 1000, GID: 1000, LoginUID: &login},
			Cgroup:    fmt.Sprintf("/docker/%064x", i%7),
		}
	}
	return out
}
