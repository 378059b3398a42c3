package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

func sample(n int) []event.Observation {
	out := []event.Observation{event.Host{
		Header:   event.Header{Time: time.Unix(1, 2).UTC(), Witness: event.WitnessEngine},
		Hostname: "web-1", Users: map[uint32]string{0: "root", 1000: "alice"},
	}}
	for i := range n {
		out = append(out, event.ProcessExec{
			Header: event.Header{Time: time.Unix(int64(i), 3).UTC(), Witness: event.WitnessKernel},
			ID:     event.ProcessID{PID: uint32(i), Start: uint64(i)},
			Argv:   event.Argv{Args: []string{"sh", "\x1b[2J\x00\xff", "line\nbreak", fmt.Sprint(i)}},
			Exe:    event.Executable{Path: "/tmp/\xfe"},
		})
	}
	return out
}

func write(t testing.TB, name string, obs []event.Observation) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	w, err := Create(name, Header{Hostname: "web-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range obs {
		if err := w.Write(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// read returns what a capture delivers and the error it ends with.
func read(name string) ([]event.Observation, error) {
	r, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []event.Observation
	for o, err := range r.All() {
		if err != nil {
			return out, err
		}
		out = append(out, o)
	}
	return out, nil
}

func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"a.jsonl", "a.jsonl.zst"} {
		want := sample(1000)
		got, err := read(write(t, name, want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(name, diff)
		}
	}
}

func TestMegabyteArgument(t *testing.T) {
	o := sample(1)[1].(event.ProcessExec)
	o.Argv.Args = []string{strings.Repeat("\x00\xff", 1<<19)}
	want := []event.Observation{o}
	got, err := read(write(t, "a.zst", want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("differs")
	}
}

func TestTooLongIsLeftOutAndTheRestGoesOn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	w, err := Create(name, Header{})
	if err != nil {
		t.Fatal(err)
	}
	o := sample(1)[1].(event.ProcessExec)
	o.Argv.Args = []string{strings.Repeat("x", MaxLine)}
	if err := w.Write(o); err == nil {
		t.Error("wrote a line that no reader takes")
	}
	if err := w.Write(sample(0)[0]); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got, err := read(name); err != nil || len(got) != 1 {
		t.Errorf("%d observations, %v", len(got), err)
	}
}

func TestExistingFileIsLeftAlone(t *testing.T) {
	name := write(t, "a", sample(1))
	if _, err := Create(name, Header{}); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
}

func TestFlushedIsReadableAfterKill(t *testing.T) {
	for _, name := range []string{"a", "a.zst"} {
		name := filepath.Join(t.TempDir(), name)
		w, err := Create(name, Header{})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range sample(100) {
			if err := w.Write(o); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if got, _ := read(name); len(got) != 101 {
			t.Errorf("%s: %d observations are readable, want 101", filepath.Base(name), len(got))
		}
		_ = w.Close()
	}
}

func TestDamageIsNamedAndWhatIsBeforeIsDelivered(t *testing.T) {
	whole, err := os.ReadFile(write(t, "a", sample(10)))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	offset := func(line int) int64 { return int64(len(bytes.Join(lines[:line-1], nil))) }
	swap := func(line int, text string) []byte {
		l := append([][]byte(nil), lines...)
		l[line-1] = []byte(text)
		return bytes.Join(l, nil)
	}
	tests := []struct {
		name      string
		content   []byte
		delivered int
		line      int
		what      string
	}{
		{"empty", nil, 0, 1, "empty"},
		{"no header", swap(1, "{}\n"), 0, 1, "no header"},
		{"other text", []byte("hello\n"), 0, 1, "no header"},
		{"last line cut off", whole[:len(whole)-5], 10, 12, "cut off"},
		{"newline missing", whole[:len(whole)-1], 10, 12, "cut off"},
		{"broken line", swap(5, "{\"process_exec\":{\n"), 3, 5, "unexpected end"},
		{"empty line", swap(5, "\n"), 3, 5, "unexpected end"},
		{"unknown kind", swap(6, "{\"banana\":{}}\n"), 4, 6, "banana"},
		{"line too long", swap(4, strings.Repeat("x", MaxLine+1)+"\n"), 2, 4, "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "a")
			if err := os.WriteFile(name, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := read(name)
			var d *DamagedError
			if !errors.As(err, &d) {
				t.Fatalf("error %v", err)
			}
			if len(got) != tt.delivered || d.Line != int64(tt.line) || d.Offset != offset(tt.line) || d.File != name || !strings.Contains(d.What, tt.what) {
				t.Errorf("%d delivered, %v; want %d, line %d, byte %d, %q", len(got), d, tt.delivered, tt.line, offset(tt.line), tt.what)
			}
		})
	}
}

func TestDamagedZstdStream(t *testing.T) {
	whole, err := os.ReadFile(write(t, "a.zst", sample(5000)))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)*3/4] ^= 0xff
	for name, content := range map[string][]byte{"cut": whole[:len(whole)/2], "flipped": flipped} {
		file := filepath.Join(t.TempDir(), "a.zst")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := read(file)
		var d *DamagedError
		if !errors.As(err, &d) || len(got) == 0 || d.Line != int64(len(got))+2 {
			t.Errorf("%s: %d delivered, %v", name, len(got), err)
		}
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(name, []byte(`{"sallyport_capture":2,"wire":1}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var v *VersionError
	if _, err := Open(name); !errors.As(err, &v) {
		t.Error(err)
	}
}

func FuzzReader(f *testing.F) {
	for _, name := range []string{"a", "a.zst"} {
		b, err := os.ReadFile(write(f, name, sample(3)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-3])
	}
	f.Add([]byte("{\"sallyport_capture\":1}\n{\"tick\":{}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader("fuzz", bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		for o, err := range r.All() {
			if err != nil {
				var d *DamagedError
				if !errors.As(err, &d) {
					t.Errorf("error without a place: %v", err)
				}
				return
			}
			if _, err := event.Marshal(o); err != nil {
				t.Errorf("read an observation that cannot be written: %v", err)
			}
		}
	})
}
