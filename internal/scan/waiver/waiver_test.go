package waiver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// rules are ids that there are.
var rules = []string{"SP-K8S-002", "SP-DKR-020"}

func entry(rule, object, expires string) string {
	return fmt.Sprintf("  - rule: %q\n    object: %q\n    owner: ann\n    reason: it is so\n    expires: %s\n", rule, object, expires)
}

const head = "version: 1\nwaivers:\n"

func parse(t *testing.T, text string) []waiver.Waiver {
	t.Helper()
	list, err := waiver.Parse("w.yaml", []byte(text), rules, now)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func report(found ...[2]string) checks.Report {
	var r checks.Report
	for _, f := range found {
		r.Found = append(r.Found, checks.Settled(finding.Finding{ID: finding.NewID(f[0], f[1]), Rule: f[0], Subject: f[1], Severity: finding.High}))
	}
	return r
}

// TestApply: who is waived by what, and what is said of the waivers themselves.
func TestApply(t *testing.T) {
	list := parse(t, head+
		entry("SP-DKR-*", "host:*/container/ci", "2026-11-30")+ // its day is not over
		entry("SP-K8S-002", "RoleBinding dev/*", "2026-11-29")+ // it is
		entry("*", "RoleBinding Dev/x", "2027-11-30")) // case counts
	r := report([2]string{"SP-DKR-020", "host:a/container/ci"}, [2]string{"SP-K8S-002", "RoleBinding dev/x"}, [2]string{"SP-K8S-002", "host:a/container/ci"})
	by := waiver.Apply(list, &r, &inventory.Inventory{Time: now}, now)
	var got []string
	for n, f := range r.Found {
		line := f.Rule + " " + f.Subject
		if by[n] != nil {
			line += fmt.Sprintf(" waived in line %d", by[n].At.Line)
		}
		if n >= 3 {
			line += fmt.Sprintf(" (%s %.1f, line %d): %s", f.Severity, f.Score.Value, f.At.Line, f.Message)
		}
		got = append(got, line)
	}
	want := []string{
		"SP-DKR-020 host:a/container/ci waived in line 3",
		"SP-K8S-002 RoleBinding dev/x",
		"SP-K8S-002 host:a/container/ci",
		"SP-WVR-001 waiver SP-K8S-002 RoleBinding dev/* (low 1.0, line 8): The waiver of SP-K8S-002 for RoleBinding dev/* by ann ended on 2026-11-29: 1 finding counts again",
		"SP-WVR-002 waiver * RoleBinding Dev/x (info 0.0, line 13): The waiver of * for RoleBinding Dev/x by ann fits no finding",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(by) != len(r.Found) {
		t.Errorf("%d answers for %d findings", len(by), len(r.Found))
	}
}

// TestLastDay: a waiver holds to the end of its last day in UTC, and not a moment longer.
func TestLastDay(t *testing.T) {
	w := parse(t, head+entry("SP-K8S-002", "x", "2026-12-01"))[0]
	for at, want := range map[string]bool{"2026-12-01T23:59:59.999999999Z": false, "2026-12-02T00:00:00Z": true, "2026-12-02T00:30:00+01:00": false} {
		when, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Expired(when); got != want {
			t.Errorf("at %s expired: %t", at, got)
		}
	}
}

// TestUnreadMayBeUsed: with something unread, a waiver that fits nothing may well be needed.
func TestUnreadMayBeUsed(t *testing.T) {
	r := report()
	waiver.Apply(parse(t, head+entry("SP-K8S-002", "x", "2026-12-01")), &r, &inventory.Inventory{Unread: []inventory.Unread{{What: inventory.PartPods}}}, now)
	if len(r.Found) != 1 || !strings.Contains(r.Found[0].Message, "not everything was read") {
		t.Errorf("%+v", r.Found)
	}
}

// TestBroken: every mistake is said, with its place and what to write instead.
func TestBroken(t *testing.T) {
	one := func(key, value string) string {
		text := head + entry("SP-K8S-002", "x", "2026-12-01")
		lines := strings.Split(text, "\n")
		for n, l := range lines {
			if strings.Contains(l, key+":") {
				lines[n] = value
			}
		}
		return strings.Join(lines, "\n")
	}
	for _, c := range []struct{ text, want string }{
		{"", "w.yaml: want one document, and there are 0 (begin it with version: 1)"},
		{"version: 1", "w.yaml:1:1: no waivers"},
		{"waivers: []", "w.yaml:1:1: no version (begin the file with version: 1)"},
		{"version: 2\nwaivers: []", `w.yaml:1:10: version "2": this sallyport reads version 1`},
		{"version: 1\nwaivers: {a: b}", `w.yaml:2:10: want a list (begin each entry with "- ")`},
		{head + "  - a\n", "w.yaml:3:5: want keys with values"},
		{"a: [", "w.yaml:2:1: not YAML: "},
		{"\xff", "w.yaml: not UTF-8"},
		{head + "---\nversion: 1\n", "w.yaml: want one document, and there are 2"},
		{one("owner", "    ower: ann"), `w.yaml:5:5: unknown key "ower" (did you mean`},
		{one("owner", "    ower: ann"), `w.yaml:3:5: a waiver without "owner"`},
		{one("owner", "    owner: ann\n    owner: bob"), `w.yaml:6:5: "owner" is already set in line 5`},
		{one("reason", "    reason: ''"), "w.yaml:6:13: reason: want a text"},
		{one("reason", "    reason: [a]"), "w.yaml:6:13: reason: want a text"},
		{one("reason", "    reason: "+strings.Repeat("x", 1001)), "w.yaml:6:13: reason: more than 1000 bytes"},
		{one("rule", "  - rule: SP-K8S-003"), `w.yaml:3:11: no rule is "SP-K8S-003" (did you mean`},
		{one("expires", "    expires: soon"), `w.yaml:7:14: expires "soon": want a date such as 2027-03-02`},
		{one("expires", "    expires: 2026-12-01T10:00:00Z"), "want a date"},
		{one("expires", "    expires: 2027-12-03"), "w.yaml:7:14: expires 2027-12-03: at most a year ahead, until 2027-12-01"},
		{head + entry("*", "**", "2026-12-01"), "w.yaml:3:5: it waives everything (name a rule or an object)"},
		{head + entry("*", "x", "2026-12-01") + entry("*", "x", "2026-12-02"), "w.yaml:8:5: the same rule and object are waived in line 3"},
		{head + "  - &a {rule: x}\n  - *a\n", "w.yaml:4:5: want keys with values"},
		{strings.Repeat("#", waiver.MaxSize+1), "more than 1048576 bytes"},
	} {
		list, err := waiver.Parse("w.yaml", []byte(c.text), rules, now)
		if err == nil || list != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: %v, want %s", c.text, err, c.want)
		}
		var e *waiver.Error
		if !errors.As(err, &e) {
			t.Errorf("%.80q: %T", c.text, err)
		}
	}
}

// FuzzParse: any file is either taken, and then whole, or refused with its name.
func FuzzParse(f *testing.F) {
	f.Add(head + entry("SP-DKR-*", "host:*", "2026-12-01"))
	f.Add(head + "  - {rule: SP-K8S-002, object: 'a*', owner: x, reason: y, expires: 2020-01-01}\n")
	f.Add("a: &a [*a]\n? {b: c}\n: d")
	f.Add(head + "  - <<: {rule: x}")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := waiver.Parse("w", []byte(text), rules, now)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "w:") || list != nil {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, w := range list {
			if w.Owner == "" || w.Reason == "" || w.At.Line == 0 || !w.Expired(now.Add(waiver.Longest+48*time.Hour)) {
				t.Errorf("%q: %+v", text, w)
			}
		}
		r := report([2]string{"SP-K8S-002", "a"})
		if by := waiver.Apply(list, &r, &inventory.Inventory{}, now); len(by) != len(r.Found) {
			t.Errorf("%q: %d answers for %d findings", text, len(by), len(r.Found))
		}
	})
}
