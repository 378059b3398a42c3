package recording

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// typing plays what was typed (>) and what came out (<) and returns what is
// recorded of the input: text, and «n» for what is masked.
func typing(steps ...string) string {
	e := &echo{}
	var out strings.Builder
	told := func(l line) {
		out.Write(l.text)
		if l.masked > 0 {
			out.WriteString("«" + strings.Repeat("*", int(l.masked)) + "»")
		}
	}
	for _, s := range steps {
		p := []byte(s[1:])
		if s[0] == '<' {
			told(e.heard(p))
			continue
		}
		for len(p) > 0 {
			n, l := e.typed(p)
			told(l)
			p = p[n:]
		}
	}
	told(e.end())
	return out.String()
}

func TestEcho(t *testing.T) {
	tests := []struct {
		name  string
		steps []string
		want  string
	}{
		{"a line, key by key", []string{"<$ ", ">l", "<l", ">s", "<s", ">\r", "<\r\n", "<file\r\n$ "}, "ls\r"},
		{"a line at once, with its output", []string{">ls\r", "<ls\r\nfile\r\n"}, "ls\r"},
		{"a line that a program types", []string{">ls\n", "<ls\r\nfile\r\n"}, "ls\n"},
		{"an echo in pieces", []string{">ls\r", "<l", "<s", "<\n"}, "ls\r"},
		{"a password", []string{"<Password: ", ">s", ">3", ">c", ">\r", "<\r\n", "<welcome"}, "«****»"},
		{"a password at once", []string{"<Password: ", ">s3c\r", "<\r\n"}, "«****»"},
		{"a password that stars stand for", []string{">s", "<*", ">3", "<*", ">\r", "<\r\n"}, "«***»"},
		{"a password while something else comes out", []string{">s", "<tick", ">3", "<tock", ">\r", "<\r\n"}, "«***»"},
		{"then a line again", []string{">s\r", "<\r\n", ">ls\r", "<ls\r\n"}, "«**»ls\r"},
		{"a line that was corrected", []string{">l", "<l", ">\x7f", "<\b \b", ">\r", "<\r\n"}, "«***»"},
		{"an arrow", []string{">\x1b[A", "<ls -l", ">\r", "<\r\n"}, "«****»"},
		{"no end", []string{">l", "<l"}, "«*»"},
		{"two lines before any echo", []string{">a\rb\r", "<a\r\nb\r\n"}, "«**»«**»"},
		{"too long", []string{">" + strings.Repeat("x", lineMax+1), "<" + strings.Repeat("x", lineMax+1), ">\r", "<\r\n"},
			"«" + strings.Repeat("*", lineMax+2) + "»"},
		{"interrupted without echo", []string{">s3c\x03", "<^C"}, "«****»"},
	}
	for _, tt := range tests {
		if got := typing(tt.steps...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestEchoTellsNothingThatWasNotShown: every byte of the recorded input came out
// before, in that order, and no byte that was typed goes uncounted.
func TestEchoTellsNothingThatWasNotShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var steps []string
		var out, in string
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			p := rapid.StringOfN(rapid.SampledFrom([]rune("ab\r\n")), 1, 4, -1).Draw(t, "bytes")
			if rapid.Bool().Draw(t, "typed") {
				steps, in = append(steps, ">"+p), in+p
			} else {
				steps, out = append(steps, "<"+p), out+p
			}
		}
		got := typing(steps...)
		if n := strings.Count(got, "*"); n+len(plainText(got)) != len(in) {
			t.Fatalf("%q: %q tells of %d bytes", steps, got, n+len(plainText(got)))
		}
		shown := strings.ReplaceAll(out, "\r", "\n") // of "\r\n" each is an end of a line
		for _, c := range strings.ReplaceAll(plainText(got), "\r", "\n") {
			i := strings.IndexRune(shown, c)
			if i < 0 {
				t.Fatalf("%q: %q holds what was not shown", steps, got)
			}
			shown = shown[i+1:]
		}
	})
}

func plainText(got string) string {
	return strings.NewReplacer("«", "", "»", "", "*", "").Replace(got)
}

func TestInputIsRecordedAsItWasEchoed(t *testing.T) {
	set := openSet(t, Options{})
	rec := begin(t, set, Header{TTY: true, Input: InputEchoed})
	for _, step := range []struct {
		s    Stream
		text string
	}{{Stdin, "ls\r"}, {Stdout, "ls\r\nfile\r\nPassword: "}, {Stdin, "hunter2\r"}, {Stdout, "\r\n"}} {
		write(t, rec, step.s, step.text)
	}
	end(t, rec, End{})
	got := read(t, set.opt.Dir, rec.ID())
	if got.Streams[Stdin] != "ls\r" || got.Masked != uint64(len("hunter2\r")) {
		t.Errorf("input %q, %d masked", got.Streams[Stdin], got.Masked)
	}
}
