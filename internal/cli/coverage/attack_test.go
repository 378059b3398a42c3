package coverage

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/attack"
)

// TestCoverageIsPrintable: a rule's title does nothing to a terminal, in no format.
func TestCoverageIsPrintable(t *testing.T) {
	c := attack.Covered([]attack.Rule{{ID: "r", Title: "\u009b2J\u202e\x7f", Techniques: []attack.Technique{attack.T1609}, Tests: []string{"\u009b2J"}}}, attack.AnyHost())
	for _, format := range coverageFormats {
		for _, detailed := range []bool{false, true} {
			var out bytes.Buffer
			env := &terminal.Env{Stdout: &out, Getenv: func(string) string { return "" }}
			opt := coverageOptions{format: format, rules: []string{"\u009b2J"}}
			if err := printCoverage(env, c, opt, detailed); err != nil || out.Len() == 0 {
				t.Fatal(err)
			}
			if strings.ContainsAny(out.String(), "\u009b\u202e\x7f") {
				t.Errorf("%s: %q", format, out.String())
			}
		}
	}
}
