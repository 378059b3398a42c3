package audit

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

// logDir is a directory with a log that is written as an API server does.
type logDir struct {
	t    *testing.T
	path string
	now  time.Time
}

func newLogDir(t *testing.T) *logDir {
	return &logDir{t: t, path: filepath.Join(t.TempDir(), "audit.log"), now: time.Now().Add(-time.Hour)}
}

func (d *logDir) write(text ...string) {
	d.t.Helper()
	f, err := os.OpenFile(d.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(text, "")); err != nil {
		d.t.Fatal(err)
	}
}

// exec writes an exec in each of the pods, each a second later.
func (d *logDir) exec(pods ...string) {
	d.t.Helper()
	for _, p := range pods {
		d.now = d.now.Add(time.Second)
		d.write(execLine(p, d.now))
	}
}

// rotate moves the log away as lumberjack does, and returns where it is now.
func (d *logDir) rotate() string {
	d.t.Helper()
	to := strings.TrimSuffix(d.path, ".log") + "-" + d.now.UTC().Format("2006-01-02T15-04-05.000") + ".log"
	if err := os.Rename(d.path, to); err != nil {
		d.t.Fatal(err)
	}
	return to
}

func (d *logDir) compress(path string) {
	d.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	f, err := os.Create(path + ".gz")
	if err != nil {
		d.t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, _ = z.Write(data)
	if err := z.Close(); err != nil {
		d.t.Fatal(err)
	}
	_ = f.Close()
	_ = os.Remove(path)
}

func TestFollow(t *testing.T) {
	d := newLogDir(t)
	d.exec("before")
	w, witness := start(t, Options{Log: &LogOptions{Path: d.path}})
	w.state("up", up)
	d.exec("a")
	d.write(noise(50))
	half := execLine("b", d.now)
	d.write(half[:100])
	w.pods("a")
	d.write(half[100:])
	w.pods("a", "b")

	d.rotate()
	d.exec("c")
	w.pods("a", "b", "c")
	d.exec("d")
	w.pods("a", "b", "c", "d")
	w.until("progress", func(said []event.Observation) bool {
		p := all[event.Progress](said)
		return len(p) > 0 && p[len(p)-1].Through.After(time.Now().Add(-3*time.Second))
	})
	w.stop()
	if s := witness.Stats(); s.Rotations != 1 || s.Malformed != 0 || s.Gaps != 0 || s.Events != 54 || s.Relevant != 4 {
		t.Errorf("stats %+v", s)
	}
}

// TestFollowLateWrites is a rotation that the API server was not told of: it
// goes on writing to the old file while an empty new one waits.
func TestFollowLateWrites(t *testing.T) {
	d := newLogDir(t)
	d.exec("a")
	w, _ := start(t, Options{Log: &LogOptions{Path: d.path, FromStart: true}})
	w.pods("a")
	moved := *d
	moved.path = d.rotate()
	d.write("")
	moved.exec("b")
	w.pods("a", "b")
	d.exec("c")
	w.pods("a", "b", "c")
}

// TestFollowNoFile: of what is no file it is said in the log why nothing is heard, once.
func TestFollowNoFile(t *testing.T) {
	w, _ := start(t, Options{Log: &LogOptions{Path: t.TempDir()}})
	w.state("down", func(s event.WitnessState) bool { return !s.Up })
	time.Sleep(20 * time.Millisecond)
	w.stop()
	if text := w.log.String(); strings.Count(text, "audit events are not heard") != 1 || !strings.Contains(text, "is no regular file") {
		t.Errorf("logged %q", text)
	}
}

// TestFollowSmall has a log that is shorter than what names a file.
func TestFollowSmall(t *testing.T) {
	d := newLogDir(t)
	w, _ := start(t, Options{Log: &LogOptions{Path: d.path}})
	if s := w.state("down", func(s event.WitnessState) bool { return !s.Up }); !strings.Contains(s.Reason, "no such file") {
		t.Errorf("reason %q", s.Reason)
	}
	d.write("")
	w.state("up", up)
	d.exec("a")
	w.pods("a")
	d.rotate()
	d.exec("b")
	w.pods("a", "b")
}

func TestResume(t *testing.T) {
	for name, rotate := range map[string]func(d *logDir){
		"not rotated":   func(d *logDir) { d.exec("b", "c", "d") },
		"rotated once":  func(d *logDir) { d.exec("b"); d.rotate(); d.exec("c", "d") },
		"rotated twice": func(d *logDir) { d.exec("b"); d.rotate(); d.exec("c"); d.rotate(); d.exec("d") },
		"compressed": func(d *logDir) {
			d.exec("b")
			d.compress(d.rotate())
			d.exec("c")
			d.compress(d.rotate())
			d.exec("d")
		},
		"by logrotate": func(d *logDir) {
			d.exec("b")
			_ = os.Rename(d.path, d.path+".1")
			d.exec("c")
			_ = os.Rename(d.path+".1", d.path+".2")
			_ = os.Rename(d.path, d.path+".1")
			d.exec("d")
		},
		"copied and truncated": func(d *logDir) {
			d.exec("b", "c")
			data, _ := os.ReadFile(d.path)
			_ = os.WriteFile(d.path+".1", data, 0o600)
			_ = os.Truncate(d.path, 0)
			d.exec("d")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, k := newLogDir(t), &audittest.Memory{}
			d.write(noise(20))
			w, _ := start(t, Options{Log: &LogOptions{Path: d.path, Bookmark: k}})
			w.state("up", up)
			d.exec("a")
			w.pods("a")
			w.stop()
			stopped := time.Now()

			rotate(d)
			w, witness := start(t, Options{Log: &LogOptions{Path: d.path, Bookmark: k}})
			w.pods("b", "c", "d")
			if s := w.state("up", up); s.From.After(stopped) || witness.Stats().Gaps != 0 {
				t.Errorf("state %+v, want none missing since %v; stats %+v", s, stopped, witness.Stats())
			}
		})
	}
}

// TestResumeGap is a downtime in which the log went away for good.
func TestResumeGap(t *testing.T) {
	d, k := newLogDir(t), &audittest.Memory{}
	d.exec("a")
	w, _ := start(t, Options{Log: &LogOptions{Path: d.path, Bookmark: k, FromStart: true}})
	w.pods("a")
	w.stop()
	stopped := time.Now()

	d.exec("lost")
	_ = os.Remove(d.path)
	d.now = time.Now().Add(time.Minute)
	d.exec("b")
	w, witness := start(t, Options{Log: &LogOptions{Path: d.path, Bookmark: k}})
	w.pods("b")
	s := w.state("up", up)
	if !s.From.Equal(d.now.Truncate(time.Microsecond)) || witness.Stats().Gaps != 1 {
		t.Errorf("from %v, want %v; stats %+v", s.From, d.now, witness.Stats())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all[event.WitnessState](w.said) {
		if !s.Up && strings.Contains(s.Reason, "no longer has") && !s.Time.After(stopped) {
			return
		}
	}
	t.Errorf("no gap stated: %+v", all[event.WitnessState](w.said))
}

func TestTruncated(t *testing.T) {
	d := newLogDir(t)
	d.exec("a", "b", "c")
	w, witness := start(t, Options{Log: &LogOptions{Path: d.path, FromStart: true}})
	w.pods("a", "b", "c")
	w.until("a place", func(said []event.Observation) bool { return len(all[event.Progress](said)) > 0 })
	_ = os.Truncate(d.path, 0)
	d.exec("d")
	w.pods("a", "b", "c", "d")
	w.state("up", up)

	// Cut and grown again between two looks: only its beginning shows it.
	data := execLine("e", d.now) + execLine("f", d.now) + execLine("g", d.now) + execLine("h", d.now)
	w.until("a place", func(said []event.Observation) bool {
		p := all[event.Progress](said)
		return p[len(p)-1].Through.After(time.Now().Add(-1500 * time.Millisecond))
	})
	if err := os.WriteFile(d.path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	w.pods("a", "b", "c", "d", "e", "f", "g", "h")
	if witness.Stats().Gaps != 2 {
		t.Errorf("stats %+v", witness.Stats())
	}
}

// TestBadLines has everything between good lines that does not belong there.
func TestBadLines(t *testing.T) {
	d := newLogDir(t)
	long := func(uri string) string { return strings.Replace(execLine("x", d.now), "command=id", uri, 1) }
	huge := strings.Repeat("z", LineMax)
	irrelevant := `{"kind":"Event","verb":"list","user":{"username":"ana"},"objectRef":{"resource":"pods"},"stage":"ResponseComplete","responseObject":"` + huge + "\"}\n"
	d.exec("a")
	d.write("\n", "garbage \x1b[2J\n", "\x1f\x8b\x08\x00\n", execLine("cut", d.now)[:200]+"\n", "\x00\x00\x00"+execLine("nul", d.now))
	d.exec("b")
	d.write(long("command="+strings.Repeat("q", 3<<20)), irrelevant, long("command="+huge), "{}\n", noise(3))
	d.exec("c")
	w, witness := start(t, Options{Log: &LogOptions{Path: d.path, FromStart: true}})
	w.pods("a", "nul", "b", "x", "c")
	w.until("loss", func(said []event.Observation) bool {
		n := uint64(0)
		for _, l := range all[event.Loss](said) {
			n += l.Count
		}
		return n == 5
	})
	s := witness.Stats()
	if s.Malformed != 4 || s.Oversized != 1 {
		t.Errorf("stats %+v", s)
	}
	if text := w.log.String(); strings.Count(text, "could not be read") != 1 || strings.Contains(text, "\x1b") || !strings.Contains(text, "garbage") {
		t.Errorf("log:\n%s", text)
	}
	d.exec("d")
	w.pods("a", "nul", "b", "x", "c", "d")
}

func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}
