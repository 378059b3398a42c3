package printable_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

func TestText(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"plain text, grün 日本", "plain text, grün 日本"},
		{"a\x1b[2Jb", `a\e[2Jb`},
		{"a\nb\tc\rd", `a\nb\tc\rd`},
		{"a\x00b\x7f", `a\x00b\x7f`},
		{"\xff\xfe", `\xff\xfe`},
		{`back\slash`, `back\\slash`},
		{"a\u202eb\u2066c\u200bd\ufeff", `a\u202eb\u2066c\u200bd\ufeff`},
		{"\u0085\u2028", `\u0085\u2028`},
		{"\u3164\ufe0f\u2800\U000e0041", `\u3164\ufe0f\u2800\U000e0041`},
		{"e\u0301", "e\u0301"},
		{"e\u0301\u0301\u0301\u0301", "e\u0301\u0301" + `\u0301\u0301`},
		{"\ufffd", "\ufffd"},
	} {
		if got := printable.Text(tc.in); got != tc.want {
			t.Errorf("Text(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestCommand(t *testing.T) {
	for _, tc := range []struct {
		in   []string
		want string
	}{
		{[]string{"ls", "-la", "/tmp"}, "ls -la /tmp"},
		{[]string{"sh", "-c", "echo hi; id"}, "sh -c 'echo hi; id'"},
		{[]string{"echo", "", "it's"}, `echo '' $'it\'s'`},
		{[]string{"echo", "a\nb"}, `echo $'a\nb'`},
		{[]string{"echo", `a\b`}, `echo 'a\b'`},
		{[]string{"echo", "\x1b]0;x\x07"}, `echo $'\e]0;x\x07'`},
	} {
		if got := printable.Command(tc.in); got != tc.want {
			t.Errorf("Command(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

// TestCommandReadsBack holds what Command promises, against a real shell.
func TestCommandReadsBack(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is missing")
	}
	argv := []string{"a b", "it's", "x\ny\tz\x1b[31m", `\`, `\'`, "日本\u202e", "\xff\xfe", "$HOME `id`", "-n", "*", "~", "!x"}
	out, err := exec.Command(bash, "-c", `printf '%s\0' `+printable.Command(argv)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(string(out), "\x00"); got != strings.Join(argv, "\x00") {
		t.Errorf("read back %q, want %q", got, argv)
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		in    string
		width int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 4, "日…"},
		{"日本語", 6, "日本語"},
		{"abc", 0, ""},
		{"e\u0301e\u0301e", 2, "e\u0301…"},
	} {
		got := printable.Cut(tc.in, tc.width)
		if got != tc.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tc.in, tc.width, got, tc.want)
		}
		if w := printable.Width(got); w > tc.width {
			t.Errorf("Cut(%q, %d) takes %d columns", tc.in, tc.width, w)
		}
	}
}

// FuzzText checks that nothing a terminal acts upon gets through, and that
// different strings stay different.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[2J", "\xff", "\u202e", `\n`, "\n", "\u009b31m", "e\u0301\u0301\u0301"} {
		f.Add(s, s+"x", 5)
	}
	f.Fuzz(func(t *testing.T, s, other string, width int) {
		for _, shown := range []string{printable.Text(s), printable.Command([]string{s, other})} {
			if !utf8.ValidString(shown) {
				t.Fatalf("%q shows as invalid UTF-8", s)
			}
			for _, r := range shown {
				if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) {
					t.Fatalf("%q shows with %U", s, r)
				}
			}
			if width = width & 0xff; printable.Width(printable.Cut(shown, width)) > width {
				t.Fatalf("%q cut to %d is wider", shown, width)
			}
		}
		plain, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var a, b string
		safe := printable.JSON(plain)
		if err := errors.Join(json.Unmarshal(plain, &a), json.Unmarshal(safe, &b)); err != nil || a != b {
			t.Fatalf("%s became %s (%v)", plain, safe, err)
		}
		if strings.ContainsFunc(string(safe), func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }) {
			t.Fatalf("%q as JSON keeps controls", s)
		}
		if s != other && printable.Text(s) == printable.Text(other) {
			t.Fatalf("%q and %q look the same", s, other)
		}
		if s != other && printable.Command([]string{s}) == printable.Command([]string{other}) {
			t.Fatalf("%q and %q look the same as commands", s, other)
		}
	})
}
