package baseline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan/baseline"
)

func found(rule, subject string, s finding.Severity) checks.Found {
	return checks.Settled(finding.Finding{ID: finding.NewID(rule, subject), Rule: rule, Subject: subject, Severity: s})
}

func lineOf(rule, subject, severity, more string) string {
	return fmt.Sprintf(`{"id":%q,"rule":%q,"severity":%q,"subject":%q%s}`+"\n", finding.NewID(rule, subject), rule, severity, subject, more)
}

const last = `{"coverage":{"folded":0,"not_read":[{"what":"pods","from":"prod","why":"forbidden"}],"skipped":[],"undecided":[]}}` + "\n"

func TestCompare(t *testing.T) {
	text := lineOf("R", "a", "high", "") + lineOf("R", "b", "low", `,"unknown_field":[1]`) + lineOf("R", "c", "high", `,"waived":{"owner":"ann"}`) +
		lineOf("R", "d", "high", `,"waived":{"owner":"ann"}`) + lineOf("R", "gone", "medium", "") + lineOf("R", "e", "high", `,"waived":{}`) + "\n" +
		lineOf("R", "f", "high", "") + `{"gets":{"subject":"pod a/b","container":"c"}}` + "\n" + lineOf("R", "f", "low", "") + last
	b, err := baseline.Parse("b.json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	now := []checks.Found{found("R", "a", finding.Medium), found("R", "b", finding.High), found("R", "c", finding.High), found("R", "d", finding.High), found("R", "x", finding.Info), found("R", "f", finding.Medium)}
	got, gone := b.Compare(now, func(n int) bool { return n == 3 })
	if d := cmp.Diff([]baseline.Change{baseline.Same, baseline.Worse, baseline.Worse, baseline.Same, baseline.New, baseline.Worse}, got); d != "" {
		t.Error(d)
	}
	if len(gone) != 1 || gone[0].Subject != "gone" || gone[0].Severity != finding.Medium {
		t.Errorf("gone: %+v", gone)
	}
	i := &inventory.Inventory{Unread: []inventory.Unread{{What: inventory.PartPods}, {What: inventory.PartNodes}, {What: inventory.PartNodes}}}
	if d := cmp.Diff([]inventory.Part{inventory.PartNodes}, b.ReadThen(i)); d != "" {
		t.Error(d)
	}
}

// TestOf: a report is its own baseline.
func TestOf(t *testing.T) {
	r := checks.Report{Found: []checks.Found{found("R", "a", finding.High)}, Gaps: []checks.Gap{{Unread: inventory.Unread{What: inventory.PartPods}}}}
	b := baseline.Of(&r)
	got, gone := b.Compare(r.Found, func(int) bool { return false })
	if len(got) != 1 || got[0] != baseline.Same || len(gone) > 0 || len(b.ReadThen(&inventory.Inventory{Unread: []inventory.Unread{{What: inventory.PartPods}}})) > 0 {
		t.Errorf("%v, gone %v", got, gone)
	}
}

func TestBroken(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "b.json: its last line is missing",
		lineOf("R", "a", "high", ""): "b.json: its last line is missing",
		"[]\n" + last:                "b.json:1: want what sallyport scan",
		"{}\n" + last:                "b.json:1: want what sallyport scan",
		last + last:                  "b.json:2: there is more after the last line",
		lineOf("R", "a", "bad", ""):  "b.json:1: want what sallyport scan",
		`{"rule":"R","subject":"a"}`: "b.json:1: want what sallyport scan",
		lineOf("R", "a", "high", `,"id":"abcdefghijklmnop"`) + last: `b.json:1: the id "abcdefghijklmnop" is not that of R and "a"`,
		"\n" + `{"id":"` + strings.Repeat("x", 5<<20) + `"}`:        "b.json:2: want what sallyport scan",
	} {
		b, err := baseline.Parse("b.json", strings.NewReader(text))
		if err == nil || b != nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.80q: %.200v, want %s", text, err, want)
		}
	}
}

// FuzzParse: any text is either a baseline or refused with the file's name.
func FuzzParse(f *testing.F) {
	f.Add(lineOf("R", "a", "high", "") + last)
	f.Add(last)
	f.Add(`{"coverage":null,"rule":"a","waived":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := baseline.Parse("b", strings.NewReader(text))
		if err != nil {
			if b != nil || !strings.HasPrefix(err.Error(), "b:") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if got, _ := b.Compare([]checks.Found{found("R", "a", finding.Low)}, func(int) bool { return false }); len(got) != 1 {
			t.Errorf("%q: %v", text, got)
		}
	})
}
