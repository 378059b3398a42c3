package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/redact"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("EXPORT_TEST_CHILD"); dir != "" {
		child(dir, os.Getenv("EXPORT_TEST_URL"))
		return
	}
	goleak.VerifyTestMain(m)
}

// source has n records, each its position's session.
type source struct {
	mu sync.Mutex
	n  int64
}

func record(position int64) export.Record {
	return export.Record{Position: position, Changed: []string{"new"}, Session: &session.Session{
		ID: session.ID(fmt.Sprintf("%016d", position)), Kind: session.KindExec, Channel: "DK-EXEC", State: session.StateRunning,
		Started: time.Unix(position, 0).UTC(), Actor: session.Actor{Kind: session.ActorNone},
		Argv: []string{"app", "--password=hunter2", strings.Repeat("x", int(position%7)*100)},
	}}
}

func (s *source) grow(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += n
}

func (s *source) Follow(ctx context.Context, after int64) iter.Seq2[export.Record, error] {
	s.mu.Lock()
	n := s.n
	s.mu.Unlock()
	return func(yield func(export.Record, error) bool) {
		for p := after + 1; p < n && ctx.Err() == nil; p++ {
			if !yield(record(p), nil) {
				return
			}
		}
	}
}

// receiver takes records, or does what answer says.
type receiver struct {
	mu     sync.Mutex
	got    []int64
	answer func(attempt int, records []export.Record) error
	tries  int
}

func (r *receiver) Send(_ context.Context, records []export.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	if r.answer != nil {
		if err := r.answer(r.tries, records); err != nil {
			return err
		}
	}
	for _, v := range records {
		r.got = append(r.got, v.Position)
	}
	return nil
}

func (r *receiver) positions() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int64(nil), r.got...)
}

func options(t testing.TB, dir string, s export.Source, d export.Destination) export.Options {
	t.Helper()
	x, err := redact.New(redact.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return export.Options{
		Name: "test", Source: s, Destination: d, Redactor: x, Dir: dir, Start: -1, Poll: 5 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond, BatchRecords: 10, Grace: 2 * time.Second,
	}
}

// start runs an exporter until the returned function is called.
func start(t testing.TB, opt export.Options) (*export.Exporter, func()) {
	t.Helper()
	e, err := export.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return e, stop
}

// eventually waits for something that happens soon.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// complete reports whether got holds every position below n.
func complete(got []int64, n int64) bool {
	seen := map[int64]bool{}
	for _, p := range got {
		seen[p] = true
	}
	return int64(len(seen)) == n
}

func TestEverythingArrivesInOrderAndNothingTwice(t *testing.T) {
	s, r := &source{n: 35}, &receiver{}
	dir := t.TempDir()
	_, stop := start(t, options(t, dir, s, r))
	eventually(t, "35 records", func() bool { return len(r.positions()) == 35 })
	s.grow(20)
	eventually(t, "20 more", func() bool { return len(r.positions()) == 55 })
	stop()
	s.grow(5)
	e, stop := start(t, options(t, dir, s, r))
	eventually(t, "5 after a restart", func() bool { return len(r.positions()) == 60 })
	stop()
	for i, p := range r.positions() {
		if p != int64(i) {
			t.Fatalf("%d came as number %d", p, i)
		}
	}
	if st := e.Stats(); st.Sent != 5 || st.Queued != 5 || st.Waiting != 0 || st.Dead+st.Dropped+st.Retries != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhatFailsIsSentAgain(t *testing.T) {
	s := &source{n: 100}
	r := &receiver{answer: func(try int, _ []export.Record) error {
		if try%3 != 0 {
			return errors.New("receiver is down")
		}
		return nil
	}}
	e, stop := start(t, options(t, t.TempDir(), s, r))
	eventually(t, "100 records", func() bool { return complete(r.positions(), 100) })
	stop()
	if st := e.Stats(); st.Retries < 10 || st.LastError != "receiver is down" || st.Dead+st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}

func TestSecretsReachNeitherDiskNorReceiver(t *testing.T) {
	var argv [][]string
	r := &receiver{answer: func(_ int, records []export.Record) error {
		for _, v := range records {
			argv = append(argv, v.Session.Argv)
		}
		return &export.Refused{Reason: "no"} // so that it lies in the dead letters, too
	}}
	dir := t.TempDir()
	e, stop := start(t, options(t, dir, &source{n: 3}, r))
	eventually(t, "3 dead letters", func() bool { return e.Stats().Dead == 3 })
	stop()
	if len(argv) == 0 || argv[0][1] != "--password=[redacted]" {
		t.Errorf("%q", argv)
	}
	for _, name := range []string{"dead.jsonl", "queue"} {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("hunter2")) {
				t.Errorf("the secret is in %s", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRefusedRecordsAreFoundInTheirBatch has a receiver that never takes two of
// the records, wherever they stand.
func TestRefusedRecordsAreFoundInTheirBatch(t *testing.T) {
	r := &receiver{answer: func(_ int, records []export.Record) error {
		for _, v := range records {
			if v.Position == 13 || v.Position == 17 {
				return &export.Refused{Reason: fmt.Sprintf("I do not like %d", v.Position)}
			}
		}
		return nil
	}}
	dir := t.TempDir()
	e, stop := start(t, options(t, dir, &source{n: 30}, r))
	eventually(t, "28 sent, 2 dead", func() bool { return e.Stats().Sent == 28 && e.Stats().Dead == 2 })
	stop()
	text, err := os.ReadFile(filepath.Join(dir, "dead.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d dead letters", len(lines))
	}
	var letter struct {
		Reason string
		Record export.Record
	}
	if err := json.Unmarshal(lines[0], &letter); err != nil || letter.Record.Position != 13 || letter.Reason != "I do not like 13" {
		t.Errorf("%s: %v", lines[0], err)
	}
}

func TestWhatIsRefusedWhileTheDeadLettersAreFullIsCounted(t *testing.T) {
	r := &receiver{answer: func(int, []export.Record) error { return &export.Refused{Reason: "no"} }}
	opt := options(t, t.TempDir(), &source{n: 40}, r)
	opt.DeadBytes = 5000
	var log bytes.Buffer
	opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	e, stop := start(t, opt)
	eventually(t, "40 refused", func() bool { return e.Stats().Dead+e.Stats().Dropped == 40 })
	stop()
	if st := e.Stats(); st.Dead == 0 || st.Dropped == 0 || !strings.Contains(log.String(), "are lost") {
		t.Errorf("%+v\n%s", st, log.String())
	}
}

// TestAFullQueueStopsTheReadingOfTheSource has a receiver that is away while
// more comes than the queue takes: it is said, memory and disk stay bounded,
// and everything arrives afterwards.
func TestAFullQueueStopsTheReadingOfTheSource(t *testing.T) {
	down := true
	r := &receiver{}
	r.answer = func(int, []export.Record) error {
		if down {
			return errors.New("receiver is down")
		}
		return nil
	}
	opt := options(t, t.TempDir(), &source{n: 3000}, r)
	opt.QueueBytes = 1 << 20
	var log bytes.Buffer
	opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	e, stop := start(t, opt)
	eventually(t, "a full queue", func() bool { return e.Stats().Full })
	if st := e.Stats(); st.QueueBytes > st.QueueLimit || st.Waiting == 3000 || st.Dropped+st.Dead != 0 {
		t.Errorf("%+v", st)
	}
	r.mu.Lock()
	down = false
	r.mu.Unlock()
	eventually(t, "3000 records", func() bool { return complete(r.positions(), 3000) })
	stop()
	if st := e.Stats(); st.Full || !strings.Contains(log.String(), "queue is full") {
		t.Errorf("%+v\n%s", st, log.String())
	}
}

func TestAtTheEndTheQueueIsStillSent(t *testing.T) {
	block := make(chan struct{})
	r := &receiver{answer: func(int, []export.Record) error { <-block; return nil }}
	e, stop := start(t, options(t, t.TempDir(), &source{n: 50}, r))
	eventually(t, "50 queued", func() bool { return e.Stats().Queued == 50 })
	time.AfterFunc(50*time.Millisecond, func() { close(block) })
	stop()
	if !complete(r.positions(), 50) {
		t.Errorf("%d arrived", len(r.positions()))
	}
}

// TestAReceiverThatHangsDoesNotHoldTheEnd has a destination that only ends with
// its context.
func TestAReceiverThatHangsDoesNotHoldTheEnd(t *testing.T) {
	s := &source{n: 5}
	opt := options(t, t.TempDir(), s, hanging{})
	opt.Grace = 50 * time.Millisecond
	e, stop := start(t, opt)
	eventually(t, "5 queued", func() bool { return e.Stats().Queued == 5 })
	begun := time.Now()
	stop()
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("ended after %s", d)
	}
	r := &receiver{}
	_, stop = start(t, options(t, opt.Dir, s, r))
	eventually(t, "5 records the next time", func() bool { return len(r.positions()) == 5 })
	stop()
}

type hanging struct{}

func (hanging) Send(ctx context.Context, _ []export.Record) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestKeepSelectsAndRemembersWhatItSkipped(t *testing.T) {
	s, r := &source{n: 100}, &receiver{}
	opt := options(t, t.TempDir(), s, r)
	asked := 0
	opt.Keep = func(v export.Record) bool { asked++; return v.Position == 7 }
	_, stop := start(t, opt)
	eventually(t, "one record", func() bool { return len(r.positions()) == 1 })
	stop()
	before := asked
	_, stop = start(t, opt)
	time.Sleep(30 * time.Millisecond)
	stop()
	if asked != before || len(r.positions()) != 1 {
		t.Errorf("%d records were looked at again, %v", asked-before, r.positions())
	}
}
