package condition

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What is looked for before an expression is asked is in every match of it.
func TestMatches(t *testing.T) {
	for _, pattern := range []string{
		`(?s)\b(curl|wget|fetch|aria2c)\b[^|]*\|.*\b(ba|da|a|z|k)?sh\b`, `^(nc|ncat) .*-e.* 7$`, `(?i)kubectl`, `a|b`, `(ab)+c?`, `(ab){2,}`, `(ab){0,2}`, `x*`,
		`[\x01-\x08\x7f]`, `[a-c]`, `[^a]`, `(?i)[a-c]`, `^$`, ``, `\bcron(d|tab)?\b`, `(sh|bash)$`, `a.c`, `(a|)b`, `é+`, `[é-ü]`,
	} {
		test, err := matches(pattern)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(pattern)
		rapid.Check(t, func(t *rapid.T) {
			s := rapid.OneOf(rapid.StringMatching(`[abcshdncurlwget0-9|. \-é]{0,20}`), rapid.String(), rapid.StringMatching(`(curl x\|sh|nc -e x 7|crontab|ab|abab|\x01)?`)).Draw(t, "text")
			if test(s) != re.MatchString(s) {
				t.Fatalf("%q in %q: %v", pattern, s, test(s))
			}
		})
	}
	for pattern, want := range map[string][]string{
		`\b(curl|wget)\b.*sh`: {"curl", "wget"}, `ab|cd`: {"ab", "cd"}, `ab|.`: nil, `(?i)ab`: nil, `(abc)+x`: {"abc"}, `x?`: nil,
	} {
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := required(tree.Simplify()); !slices.Equal(got, want) {
			t.Errorf("%q requires %q, want %q", pattern, got, want)
		}
	}
}
