package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

func TestSessionsAreSelected(t *testing.T) {
	s := open(t, t.TempDir())
	login, uid := uint32(1007), uint32(0)
	odd := []session.Session{
		sess(200, func(s *session.Session) { s.Unexplained = session.Unexplained{Is: true, Reason: "r"} }),
		sess(201, func(s *session.Session) {
			s.Kind, s.Channel = session.KindEnter, event.ChannelHostNsenter
			s.Actor = session.Actor{Kind: session.ActorUnix, User: "root", UID: &uid, LoginUID: &login, LoginUser: "mallory"}
		}),
		sess(202, func(s *session.Session) {
			s.Actor = session.Actor{Kind: session.ActorNone}
			s.Attribution.Level = session.LevelSet
			s.Attribution.Candidates = []session.Actor{{User: "dora"}, {User: "emil\nx"}}
		}),
		sess(203, func(s *session.Session) { s.SupersededBy = "sess000000000202" }),
		sess(204, func(s *session.Session) { s.Actor, s.Target = session.Actor{}, session.Target{} }),
	}
	for n := range 150 { // more than a page
		add(t, s, sess(n), sess(n, ended))
	}
	add(t, s, odd...)

	ids := func(ns ...int) (out []string) {
		for _, n := range ns {
			out = append(out, string(sess(n).ID))
		}
		return out
	}
	span := func(from, to, step int) (ns []int) {
		for n := from; n < to; n += step {
			ns = append(ns, n)
		}
		return ns
	}
	tests := []struct {
		name string
		q    Query
		want []string
	}{
		{"all but superseded", Query{}, append(ids(span(0, 150, 1)...), ids(200, 201, 202, 204)...)},
		{"since and until", Query{Since: sess(3).Started, Until: sess(6).Started}, ids(3, 4, 5)},
		{"limit keeps the latest", Query{Limit: 3}, ids(201, 202, 204)},
		{"limit of a selection", Query{Limit: 2, Actor: "alice", Until: sess(100).Started}, ids(96, 99)},
		{"actor by name", Query{Actor: "bob", Until: sess(9).Started}, ids(1, 4, 7)},
		{"actor by uid", Query{Actor: "1001", Until: sess(9).Started}, ids(1, 4, 7)},
		{"part of a name", Query{Actor: "bo"}, nil},
		{"login user", Query{Actor: "mallory"}, ids(201)},
		{"login uid", Query{Actor: "1007"}, ids(201)},
		{"candidate", Query{Actor: "dora"}, ids(202)},
		{"name with a newline", Query{Actor: "emil\nx"}, ids(202)},
		{"part of a name with a newline", Query{Actor: "emil"}, nil},
		{"quotes", Query{Actor: `' OR 1=1 --`}, nil},
		{"container name", Query{Container: "web-2", Until: sess(10).Started}, ids(2, 7)},
		{"container id", Query{Container: strings.Repeat("0", 63) + "2", Until: sess(10).Started}, ids(2, 7)},
		{"container id prefix", Query{Container: "0000", Until: sess(2).Started}, ids(0, 1)},
		{"part of a container name", Query{Container: "eb-2"}, nil},
		{"beginning of a container name", Query{Container: "web"}, nil},
		{"channel", Query{Channel: "HO-NSENTER"}, ids(201)},
		{"kind", Query{Kind: "enter"}, ids(201)},
		{"unexplained", Query{Unexplained: true}, ids(200)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, v := range sessions(t, s.Reader, tt.q) {
				got = append(got, string(v.ID))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSessionByPrefix(t *testing.T) {
	s := open(t, t.TempDir())
	add(t, s, sess(1), sess(2), sess(30))
	ctx := context.Background()
	if v, _, err := s.Session(ctx, "sess00000000003"); err != nil || v.ID != sess(30).ID {
		t.Errorf("unique prefix: %v, %v", v.ID, err)
	}
	if _, _, err := s.Session(ctx, "zz"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if _, _, err := s.Session(ctx, "sess_"); !errors.Is(err, ErrNotFound) {
		t.Errorf("wildcards have no meaning: %v", err)
	}
	var ambiguous *ErrAmbiguous
	if _, _, err := s.Session(ctx, "sess0000"); !errors.As(err, &ambiguous) || len(ambiguous.Matches) != 3 {
		t.Errorf("ambiguous: %v", err)
	}
}

func TestFollowInOrderOfCommit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := int64(-1)
	follow := func() (got []string) {
		for p, err := range r.Follow(context.Background(), at) {
			if err != nil {
				t.Fatal(err)
			}
			at = p.Position
			got = append(got, fmt.Sprintf("%s/%d", p.Revision.Session.ID[10:], p.Revision.Session.Revision))
		}
		return got
	}
	if got := follow(); got != nil {
		t.Errorf("nothing there yet: %v", got)
	}
	add(t, s, sess(5), sess(2), sess(5, ended))
	if diff := cmp.Diff([]string{"000005/1", "000002/1", "000005/2"}, follow()); diff != "" {
		t.Error(diff)
	}
	for n := range 40 {
		add(t, s, sess(100+n))
	}
	if got := follow(); len(got) != 40 {
		t.Errorf("%d revisions followed, want 40", len(got))
	}
	if last, err := r.Last(context.Background()); err != nil || last != at {
		t.Errorf("last = %d, %v, want %d", last, err, at)
	}
}

func observations(t testing.TB, r *Reader, from, to time.Time) []event.Observation {
	t.Helper()
	var out []event.Observation
	for o, err := range r.Observations(context.Background(), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func TestObservationsInStoredOrder(t *testing.T) {
	s := open(t, t.TempDir())
	var all []event.Observation
	for _, seed := range []int{0, 2, 1, 3} { // one batch late
		b := noise(100, seed)
		all = append(all, b...)
		if _, err := s.Append(context.Background(), Batch{Observations: b}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(all, observations(t, s.Reader, time.Time{}, time.Time{})); diff != "" {
		t.Error(diff)
	}
	from, to := epoch.Add(150*time.Millisecond), epoch.Add(250*time.Millisecond)
	var want []event.Observation
	for _, o := range all {
		if at := o.Head().Time; !at.Before(from) && at.Before(to) {
			want = append(want, o)
		}
	}
	if diff := cmp.Diff(want, observations(t, s.Reader, from, to)); diff != "" {
		t.Error(diff)
	}
}

func TestOldestOpen(t *testing.T) {
	s := open(t, t.TempDir())
	if _, ok, err := s.OldestOpen(context.Background()); ok || err != nil {
		t.Errorf("empty store: %v, %v", ok, err)
	}
	add(t, s, sess(1, ended), sess(2), sess(3), sess(0, func(s *session.Session) { s.SupersededBy = "x" }))
	if at, ok, err := s.OldestOpen(context.Background()); !ok || err != nil || !at.Equal(sess(2).Started) {
		t.Errorf("oldest = %v, %v, %v", at, ok, err)
	}
}

// A reader that stops in the middle of an iteration must not keep the writer's
// log from being taken over into the database.
func TestSlowReaderHoldsNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 200 {
		add(t, s, sess(n))
	}
	for range s.Sessions(context.Background(), Query{}) {
		var busy, log, done int
		err := raw(t, dir).QueryRow(`PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &log, &done)
		if err != nil || busy != 0 {
			t.Errorf("a checkpoint during an iteration: busy %d, %v", busy, err)
		}
		break
	}
}

// Anything that a witness or correlation can hand over comes back as it was.
func TestHostileValuesComeBackEqual(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	hostile := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"\x00", "\x1b[2J\x1b[31m", "\xff\xfe", "'; DROP TABLE record; --", `"`, "\u2028", "%_\n", strings.Repeat("\x00\xff", 1<<10),
	}))
	valid := rapid.Map(hostile, func(s string) string { return strings.ToValidUTF8(s, "?") })
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		o := event.ProcessExec{
			Header:   event.Header{Time: time.Unix(rapid.Int64Range(-1e9, 1e10).Draw(t, "time"), 7).UTC(), Witness: event.WitnessKernel},
			ID:       event.ProcessID{PID: uint32(n)},
			Filename: event.Text(hostile.Draw(t, "filename")),
			Argv:     event.Argv{Args: rapid.SliceOfN(hostile, 0, 3).Draw(t, "argv")},
			Cgroup:   valid.Draw(t, "cgroup"),
		}
		v := sess(n, func(s *session.Session) {
			s.Argv = rapid.SliceOfN(hostile, 0, 3).Draw(t, "session argv")
			s.Actor.User = valid.Draw(t, "user")
			s.Target.ContainerName = valid.Draw(t, "name")
			s.Target.Labels = map[string]string{valid.Draw(t, "label"): valid.Draw(t, "value")}
		})
		stored, err := s.Append(context.Background(), Batch{
			Observations: []event.Observation{o}, Revisions: []session.Revision{{Session: v}},
		})
		if err != nil || len(stored.Revisions) != 1 {
			t.Fatal(stored, err)
		}
		got, _, err := s.Session(context.Background(), string(v.ID))
		if err != nil {
			t.Fatal(err)
		}
		v.Revision = 1
		if diff := cmp.Diff(v, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if v.Actor.User != "" && !finds(s.Reader, Query{Actor: v.Actor.User}, v.ID) {
			t.Fatalf("user %q is not found", v.Actor.User)
		}
		if v.Target.ContainerName != "" && !finds(s.Reader, Query{Container: v.Target.ContainerName}, v.ID) {
			t.Fatalf("container %q is not found", v.Target.ContainerName)
		}
		back := false
		for x, err := range s.Observations(context.Background(), o.Time, o.Time.Add(1)) {
			if err != nil {
				t.Fatal(err)
			}
			back = back || reflect.DeepEqual(x, event.Observation(o)) || cmp.Equal(x, event.Observation(o), cmpopts.EquateEmpty())
		}
		if !back {
			t.Fatalf("%+v did not come back", o)
		}
	})
	if d := verify(t, dir, VerifyOptions{}).Damage; d != nil {
		t.Error(d)
	}
}

func TestMegabyteOfArguments(t *testing.T) {
	s := open(t, t.TempDir())
	args := []string{strings.Repeat("\x00\xff", 1<<19), "x"}
	o := noise(1, 0)[0].(event.ProcessExec)
	o.Argv.Args = args
	v := sess(1, func(s *session.Session) { s.Argv = args })
	_, err := s.Append(context.Background(), Batch{
		Observations: []event.Observation{o, o, o}, Revisions: []session.Revision{{Session: v}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := observations(t, s.Reader, time.Time{}, time.Time{}); len(got) != 3 || !cmp.Equal(got[2], event.Observation(o)) {
		t.Errorf("%d observations came back", len(got))
	}
	if got := sessions(t, s.Reader, Query{}); len(got) != 1 || !cmp.Equal(got[0].Argv, args) {
		t.Error("the session did not come back")
	}
}

func finds(r *Reader, q Query, id session.ID) bool {
	for s, err := range r.Sessions(context.Background(), q) {
		if err == nil && s.ID == id {
			return true
		}
	}
	return false
}
