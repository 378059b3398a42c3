package pattern

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		yes, nay []string
	}{
		{"curl", []string{"curl", "CURL"}, []string{"", "curl ", "acurl"}},
		{"*/curl", []string{"/usr/bin/Curl", "/curl"}, []string{"curl", "/usr/bin/curl2"}},
		{"curl*", []string{"curl", "curl -s"}, []string{"/curl"}},
		{"* -C *", []string{"sh -c id", " -C "}, []string{"sh -c", "-c id"}},
		{"a*b*a", []string{"aba", "aXXbYYa"}, []string{"ab", "aa", "abab"}},
		{"aa*aa", []string{"aaaa", "aaXaa"}, []string{"aa", "aaa"}},
		{"?x", []string{"ax", "éX"}, []string{"x", "aax"}},
		{"*?b?*", []string{"abc", "zzabczz"}, []string{"ab", "bc", "b"}},
		{"*a??", []string{"xxa12", "aab"}, []string{"a1", "a123"}},
		{`a\*b`, []string{"a*b"}, []string{"aXb", `a\*b`}},
		{`a\?`, []string{"A?"}, []string{"ab"}},
		{`a\\*`, []string{`a\`, `a\b`}, []string{"ab"}},
		{`a\b`, []string{`a\b`}, []string{"ab"}},
		{`a\\b`, []string{`a\b`}, []string{`a\\b`}},
		{`a\`, []string{`a\`}, []string{"a"}},
		{"ÄÖ*", []string{"äöü", "ÄÖ"}, []string{"ao"}},
		{"", []string{""}, []string{"a"}},
		{"*", []string{"", "a"}, nil},
		{"**", []string{"", "a"}, nil},
	} {
		s := NewSet("never this", c.pattern)
		for _, text := range c.yes {
			if !s.Match(text) {
				t.Errorf("%q does not fit %q", text, c.pattern)
			}
		}
		for _, text := range c.nay {
			if s.Match(text) {
				t.Errorf("%q fits %q", text, c.pattern)
			}
		}
	}
}

func TestBegins(t *testing.T) {
	for _, c := range []struct {
		pattern, known string
		want           Answer
	}{
		{"*curl*", "sh -c curl ", Yes},
		{"*curl*", "sh -c cur", Maybe},
		{"*curl", "sh -c curl", Maybe},
		{"curl*", "curl", Yes},
		{"curl*", "cur", Maybe},
		{"curl*", "cat", No},
		{"curl -s", "curl -s", No}, // it goes on
		{"curl -s", "curl -", Maybe},
		{"curl -s", "curl -x", No},
		{"?b*", "ab", Yes},
		{"?b*", "ac", No},
		{"a*b", "a", Maybe},
	} {
		if got := NewSet(c.pattern).BeginsLower(c.known); got != c.want {
			t.Errorf("%q of %q…: %v, want %v", c.pattern, c.known, got, c.want)
		}
	}
	if got := NewSet("x", "*a*", "y*").BeginsLower("ya"); got != Yes {
		t.Errorf("of several: %v", got)
	}
}

func TestLiteral(t *testing.T) {
	for _, c := range []struct {
		pattern, want string
		ok            bool
	}{
		{`a\*b`, `a*b`, true}, {`a\?\\`, `a?\`, true}, {`a\b\`, `a\b\`, true}, {"", "", true}, {"\xff\xfe", "\xff\xfe", true},
		{`a\\*`, "", false}, {"?", "", false},
	} {
		if got, ok := Literal(c.pattern); got != c.want || ok != c.ok {
			t.Errorf("%q: %q, %v", c.pattern, got, ok)
		}
	}
}

// Stars fit what a regular expression matches.
func TestStars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patterns := rapid.SliceOfN(rapid.StringMatching(`[abA?\\*]{0,6}`), 1, 4).Draw(t, "patterns")
		text := rapid.StringMatching(`[abA?\\*]{0,6}`).Draw(t, "text")
		want := slices.ContainsFunc(patterns, func(p string) bool {
			return regexp.MustCompile(`\A` + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `.*`) + `\z`).MatchString(text)
		})
		if got := NewStars(patterns...).Match(text); got != want {
			t.Fatalf("%q like %q: %v, want %v", text, patterns, got, want)
		}
	})
}

// FuzzMatch holds the matcher against a regular expression, and what is said of
// a beginning against what is said of the whole.
func FuzzMatch(f *testing.F) {
	f.Add("*a?b\\**", "xxaYb*z", uint8(3))
	f.Add(`\\*\?`, `\x?`, uint8(1))
	f.Add("é?*É", "Éaé", uint8(2))
	f.Fuzz(func(t *testing.T, pattern, text string, cut uint8) {
		if !utf8.ValidString(pattern) {
			t.Skip("rules are UTF-8")
		}
		s, low := NewSet(pattern), strings.ToLower(text)
		got := s.Match(text)
		if want := regexp.MustCompile(expression(pattern)).MatchString(low); got != want {
			t.Fatalf("%q of %q: %v, want %v", pattern, text, got, want)
		}
		if cased := regexp.MustCompile(`(?s)\A` + Expression(strings.ToLower(pattern)) + `\z`).MatchString(low); got != cased {
			t.Fatalf("%q of %q: %v, by its expression %v", pattern, text, got, cased)
		}
		if got, ok := Literal(Quote(text)); got != text || !ok {
			t.Fatalf("%q quoted: %q, %v", text, got, ok)
		}
		if n := int(cut); n < len(low) {
			switch a := s.BeginsLower(low[:n]); {
			case a == Yes && !got, a == No && got:
				t.Fatalf("%q of %q, cut to %q: %v, and %v of all", pattern, text, low[:n], a, got)
			}
		}
	})
}

// expression writes a pattern as a regular expression, in another way than
// compile reads it.
func expression(pattern string) string {
	p := strings.ToLower(pattern)
	var b strings.Builder
	for p != "" {
		switch {
		case strings.HasPrefix(p, `\\`), strings.HasPrefix(p, `\*`), strings.HasPrefix(p, `\?`):
			b.WriteString(regexp.QuoteMeta(p[1:2]))
			p = p[2:]
			continue
		case p[0] == '*':
			b.WriteString(`.*`)
			p = p[1:]
			continue
		case p[0] == '?':
			b.WriteString(`.`)
			p = p[1:]
			continue
		}
		_, size := utf8.DecodeRuneInString(p)
		b.WriteString(regexp.QuoteMeta(p[:size]))
		p = p[size:]
	}
	return `(?s)\A` + b.String() + `\z`
}
