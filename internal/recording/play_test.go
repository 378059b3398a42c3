package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

func list(fs ...Frame) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for _, f := range fs {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func torn(fs ...Frame) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for _, f := range fs {
			if !yield(f, nil) {
				return
			}
		}
		yield(Frame{}, &TornError{Offset: 7, What: "cut"})
	}
}

func out(at time.Duration, text string) Frame {
	return Frame{At: at, Stream: Stdout, Data: []byte(text)}
}

func TestPlay(t *testing.T) {
	all := []Frame{
		out(time.Second, "a"), {At: 2 * time.Second, Stream: Stdin, Data: []byte("typed")},
		{At: 4 * time.Second, Stream: Stderr, Data: []byte("b")}, {At: 14 * time.Second, Gap: &Gap{3, "full"}}, out(14*time.Second, "c"),
	}
	tests := []struct {
		name string
		p    Playing
		want string
	}{
		{"as it went", Playing{}, "1s a 1s 2s b 10s [gap: 3 bytes of stdin are not recorded: full] c"},
		{"twice as fast", Playing{Speed: 2}, "500ms a 500ms 1s b 5s [gap: 3 bytes of stdin are not recorded: full] c"},
		{"short pauses", Playing{Idle: 1500 * time.Millisecond}, "1s a 1s 1.5s b 1.5s [gap: 3 bytes of stdin are not recorded: full] c"},
		{"from the middle", Playing{From: 3 * time.Second}, "a 1s b 10s [gap: 3 bytes of stdin are not recorded: full] c"},
		{"up to the middle", Playing{To: 4 * time.Second}, "1s a 1s 2s b"},
	}
	for _, tt := range tests {
		var got []string
		tt.p.Sleep = func(_ context.Context, d time.Duration) { got = append(got, d.String()) }
		tt.p.Note = func(_ time.Duration, text string) { got = append(got, "["+text+"]") }
		err := tt.p.Play(t.Context(), writeFunc(func(p []byte) { got = append(got, string(p)) }), Header{TTY: true}, list(all...))
		if s := strings.Join(got, " "); s != tt.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", tt.name, s, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := Playing{Sleep: func(context.Context, time.Duration) { cancel() }}
	if err := p.Play(ctx, &bytes.Buffer{}, Header{}, list(all...)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

type writeFunc func([]byte)

func (f writeFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestOnlyTerminalsGetControlSequences(t *testing.T) {
	const evil = "\x1b]0;title\x07red\x1b[31m!\r\n"
	for _, tt := range []struct {
		tty, safe bool
		want      string
	}{{true, false, evil}, {true, true, "red!\n"}, {false, false, "red!\n"}} {
		var b bytes.Buffer
		p := Playing{Safe: tt.safe, Sleep: func(context.Context, time.Duration) {}}
		if err := p.Play(t.Context(), &b, Header{TTY: tt.tty}, list(out(0, evil))); err != nil || b.String() != tt.want {
			t.Errorf("tty %v, safe %v: %q, %v", tt.tty, tt.safe, b.String(), err)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"text\twith ü and 漢\n":                     "text\twith ü and 漢\n",
		`back\slash`:                               `back\slash`,
		"a\x1b[1;31mb\x1b[0mc":                     "abc",
		"a\x1b[?25lb":                              "ab",
		"a\x1b]8;;http://x\x1b\\link\x1b]8;;\x07b": "alinkb",
		"a\x1bP1$r0m\x1b\\b":                       "ab",
		"a\x1b(Bb\x1b=c\x1b7d":                     "abcd",
		"a\u009b31mb\u009dx\u009cc":                "abc",
		"a\x1b\x1b[2Jb":                            "ab",
		"a\x1b[2\nb":                               "a\nb",
		"a\x1b[3\x18b":                             "ab",
		"10%\r20%\r\ndone\r":                       "10%\n20%\ndone",
		"\x00\x07\x08\x7f":                         "",
		"\u202eevil\u200b":                         `\u202eevil\u200b`,
		"\xff\xc3":                                 `\xff`,
	} {
		var whole, split bytes.Buffer
		_, _ = newPlain(&whole).Write([]byte(in))
		w := newPlain(&split)
		for i := range len(in) {
			if n, err := w.Write([]byte{in[i]}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if whole.String() != want || split.String() != want {
			t.Errorf("%q: %q at once, %q by bytes; want %q", in, whole.String(), split.String(), want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\x1b]0;x\x07\r\nü\xff"), byte(3))
	f.Add([]byte("\x1b\x1b]\x1b[\x9b0\x18"), byte(1))
	f.Fuzz(func(t *testing.T, in []byte, size byte) {
		var whole, split bytes.Buffer
		_, _ = newPlain(&whole).Write(in)
		w := newPlain(&split)
		for rest := in; len(rest) > 0; {
			n := min(len(rest), 1+int(size))
			_, _ = w.Write(rest[:n])
			rest = rest[n:]
		}
		if whole.String() != split.String() {
			t.Fatalf("%q at once, %q in pieces", whole.String(), split.String())
		}
		for _, r := range whole.String() {
			if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%q holds %U", whole.String(), r)
			}
		}
	})
}

func TestAsciicast(t *testing.T) {
	h := Header{
		ID: "0123456789abcdef", Started: time.Unix(1700000000, 5), TTY: true, Cols: 120, Rows: 40, Kind: "exec",
		Argv: []event.Text{"sh", "-c", "echo <hi>"},
	}
	h.Target.ContainerName = "web"
	var b bytes.Buffer
	err := WriteAsciicast(&b, h, list(
		out(100*time.Millisecond, "a\xc3"), out(200*time.Millisecond, "\xbc\x1b[0m\xff"),
		Frame{At: 200 * time.Millisecond, Stream: Stdin, Data: []byte("ls\r")},
		Frame{At: time.Second, Size: &Size{90, 30}},
		Frame{At: time.Second, Masked: 4},
		Frame{At: time.Second, Stream: Stderr, Gap: &Gap{12, "disk full"}},
		out(1500*time.Millisecond, "\xe6\xbc"),
		Frame{At: 2 * time.Second, End: &End{Exit: code(3)}},
	))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":3,"term":{"cols":120,"rows":40},"timestamp":1700000000,"command":"sh -c 'echo <hi>'","title":"exec web 0123456789abcdef"}
[0.100000,"o","a"]
[0.100000,"o","ü\u001b[0m` + "\ufffd" + `"]
[0.000000,"i","ls\r"]
[0.800000,"r","90x30"]
[0.000000,"m","4 bytes typed without echo"]
[0.000000,"m","gap: 12 bytes of stderr are not recorded: disk full"]
[0.000000,"o","` + "\ufffd\ufffd" + `"]
[1.000000,"x","3"]
`
	want = strings.Replace(want, "\ufffd\ufffd", "\ufffd", 1)
	got := strings.ReplaceAll(b.String(), `\ufffd`, "\ufffd")
	got = strings.ReplaceAll(got, "\ufffd\ufffd", "\ufffd")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAsciicastTimesDoNotDrift: the sum of intervals is the time of the last
// event, to a microsecond, after many events.
func TestAsciicastTimesDoNotDrift(t *testing.T) {
	var all []Frame
	for i := range 10000 {
		all = append(all, out(time.Duration(i)*333333*time.Nanosecond, "x"))
	}
	var b bytes.Buffer
	if err := WriteAsciicast(&b, Header{}, list(all...)); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	lines := bytes.Split(bytes.TrimSpace(b.Bytes()), []byte("\n"))
	for _, l := range lines[1:] {
		var e [3]any
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		sum += e[0].(float64)
	}
	if want := all[len(all)-1].At.Seconds(); math.Abs(sum-want) > 2e-6 {
		t.Errorf("%f s, want %f", sum, want)
	}
}

func TestExportOfATornRecording(t *testing.T) {
	var b bytes.Buffer
	var e *TornError
	if err := WriteAsciicast(&b, Header{}, torn(out(0, "x\n"))); !errors.As(err, &e) {
		t.Error(err)
	}
	if got := b.String(); !strings.Contains(got, `"o","x\r\n"`) || !strings.Contains(got, `"m","recording: torn at byte 7: cut"`) || !strings.Contains(got, fmt.Sprintf(`"cols":%d`, colsDefault)) {
		t.Error(got)
	}
	b.Reset()
	err := WriteRaw(&b, func(s Stream) bool { return s == Stdout }, torn(out(0, "x\n"), Frame{Stream: Stderr, Data: []byte("y")}))
	if !errors.As(err, &e) || b.String() != "x\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
