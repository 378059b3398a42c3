package policy

import (
	"strings"
	"testing"
)

// Rules of every kind can be asked about everything that the engine makes.
func TestCorpusCanBeReviewed(t *testing.T) {
	var text strings.Builder
	text.WriteString("version: 1\ndefault: allow\nlists: {spaces: [prod], admins: [x]}\nrules:\n")
	for i, c := range conditions {
		text.WriteString("  - {id: r" + string(rune('a'+i)) + ", effect: alert, severity: low, when: '" + c + "'}\n")
	}
	e := NewEngine(load(t, text.String()))
	n := 0
	for _, s := range corpus(t) {
		n += len(e.Observe(s))
	}
	n += len(e.Flush())
	if errs := e.Stats().Errors; n == 0 || len(errs) > 0 {
		t.Errorf("%d findings, errors %v", n, errs)
	}
}
