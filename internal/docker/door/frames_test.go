package door

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
)

// demuxed takes a stream apart, in pieces of the given lengths (at least 1), one
// after the other and again.
func demuxed(t *testing.T, stream, pieces []byte) (out, errs []byte, at position) {
	t.Helper()
	f := frames{to: func(s Stream, p []byte) error {
		if s == Stdout {
			out = append(out, p...)
		} else {
			errs = append(errs, p...)
		}
		return nil
	}}
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(pieces) > 0 {
			n = min(n, 1+int(pieces[i%len(pieces)]))
		}
		if err := f.write(stream[:n]); err != nil {
			t.Fatal(err)
		}
		stream = stream[n:]
	}
	return out, errs, f.position
}

// framed is a stream of parts, each behind the number of its stream.
func framed(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p[0], 0, 0, 0, byte((len(p)-1)>>24), byte((len(p)-1)>>16), byte((len(p)-1)>>8), byte(len(p)-1))
		b = append(b, p[1:]...)
	}
	return b
}

func TestFrames(t *testing.T) {
	stream := framed("\x01one", "\x02two", "\x01", "\x00three", "\x03broken")
	for size := range len(stream) + 1 {
		out, errs, at := demuxed(t, stream, []byte{byte(size)})
		if string(out) != "onethree" || string(errs) != "twobroken" || at.have != 0 || at.left != 0 || at.raw {
			t.Fatalf("pieces of %d: %q, %q, %+v", size+1, out, errs, at)
		}
	}
	odd := append(framed("\x01x"), 9, 0, 0, 0, 0, 0, 0, 1, 'y', 'z')
	if out, _, at := demuxed(t, odd, []byte{2}); string(out) != "x\x09\x00\x00\x00\x00\x00\x00\x01yz" || !at.raw {
		t.Errorf("no such stream: %q, %+v", out, at)
	}
	stop := errors.New("stop")
	f := frames{to: func(Stream, []byte) error { return stop }}
	if err := f.write(framed("\x01x")); !errors.Is(err, stop) {
		t.Errorf("an error of the function: %v", err)
	}
}

// TestLast: wherever a stream is cut, Docker's own clients read what came before,
// and then the reason.
func TestLast(t *testing.T) {
	stream := framed("\x01one", "\x02two", "\x01")
	for cut := range len(stream) + 1 {
		_, _, at := demuxed(t, stream[:cut], nil)
		var out, errs bytes.Buffer
		_, err := stdcopy.StdCopy(&out, &errs, bytes.NewReader(append(bytes.Clone(stream[:cut]), at.last("no room")...)))
		if err == nil || !strings.Contains(err.Error(), "no room") {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got := strings.Trim(out.String(), "\x00") + strings.Trim(errs.String(), "\x00"); !strings.HasPrefix("onetwo", got) {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
	if at := (position{left: fillMax + 1}); at.last("x") != nil {
		t.Error("a long frame is filled")
	}
	if got := string(position{raw: true}.last("x")); got != "\r\nx\r\n" {
		t.Errorf("at a terminal: %q", got)
	}
}

// FuzzFrames holds it against what Docker's own clients use. stdcopy gives out
// whole frames only, and ends at an error of the daemon.
func FuzzFrames(f *testing.F) {
	f.Add(framed("\x01one", "\x02two", "\x00three", "\x01"), []byte{2, 9})
	f.Add(framed("\x01one")[:9], []byte{})
	f.Add(framed("\x02x", "\x03boom", "\x01y"), []byte{0})
	f.Add(framed("\x07one"), []byte{0})
	f.Fuzz(func(t *testing.T, stream, pieces []byte) {
		if len(stream) > 1<<16 || frameOver(stream, 1<<20) {
			return // stdcopy makes room for as much as a frame says
		}
		var wantOut, wantErr bytes.Buffer
		_, want := stdcopy.StdCopy(&wantOut, &wantErr, bytes.NewReader(stream))
		out, errs, at := demuxed(t, stream, pieces)
		daemons := want != nil && strings.Contains(want.Error(), "error from daemon") // there it ends, frames goes on
		if unknown := want != nil && strings.Contains(want.Error(), "unrecognized stream"); !daemons && unknown != at.raw {
			t.Fatalf("stdcopy: %v, frames: %+v", want, at)
		}
		if !bytes.HasPrefix(out, wantOut.Bytes()) || !bytes.HasPrefix(errs, wantErr.Bytes()) {
			t.Fatalf("%q, %q; stdcopy %q, %q", out, errs, wantOut.Bytes(), wantErr.Bytes())
		}
		if want == nil && at.have == 0 && at.left == 0 && (len(out) != wantOut.Len() || len(errs) != wantErr.Len()) {
			t.Fatalf("%q, %q; stdcopy %q, %q", out, errs, wantOut.Bytes(), wantErr.Bytes())
		}
	})
}

// frameOver reports whether a frame of a stream says that it is longer than most.
func frameOver(stream []byte, most int) bool {
	for len(stream) >= 8 {
		n := int(stream[4])<<24 | int(stream[5])<<16 | int(stream[6])<<8 | int(stream[7])
		if n > most {
			return true
		}
		stream = stream[min(len(stream), 8+n):]
	}
	return false
}

// BenchmarkFrames takes apart a stream in 32 kB pieces.
func BenchmarkFrames(b *testing.B) {
	var stream []byte
	for len(stream) < 32<<10 {
		stream = append(append(stream, 1, 0, 0, 0, 0, 0, 4, 0), make([]byte, 1024)...)
	}
	f := frames{to: func(Stream, []byte) error { return nil }}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.write(stream); err != nil {
			b.Fatal(err)
		}
	}
}
