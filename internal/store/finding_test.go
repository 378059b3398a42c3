package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// found returns finding n, of rule n modulo 2.
func found(n int) finding.Finding {
	s := sess(n)
	f := finding.Finding{Rule: fmt.Sprint("rule-", n%2), Severity: finding.Severity(n % 5), Title: "t"}
	f.About(&s)
	return f
}

func findings(t testing.TB, r *Reader, q FindingQuery) []finding.ID {
	t.Helper()
	var out []finding.ID
	for f, err := range r.Findings(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f.ID)
	}
	return out
}

// withFindings returns a state directory with 100 sessions and findings.
func withFindings(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 100 {
		added, err := s.Append(context.Background(), Batch{
			Revisions: []session.Revision{{Session: sess(n, ended)}}, Findings: []finding.Finding{found(n)},
		})
		if err != nil || len(added.Findings) != 1 || len(added.Revisions) != 1 {
			t.Fatal(added, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFindingsAreStoredOnce(t *testing.T) {
	dir := withFindings(t)
	s := open(t, dir)
	again := found(7)
	again.Message = "the same rule about the same session, seen again"
	added, err := s.Append(context.Background(), Batch{Findings: []finding.Finding{again, found(100), found(100)}})
	if err != nil || len(added.Findings) != 1 || added.Findings[0].ID != found(100).ID {
		t.Errorf("added %+v, %v", added, err)
	}
	if n := len(findings(t, s.Reader, FindingQuery{})); n != 101 {
		t.Errorf("%d findings", n)
	}
	rep := verify(t, dir, VerifyOptions{})
	if rep.Damage != nil || rep.Findings != 101 || rep.Revisions != 100 || rep.Records != 201 {
		t.Errorf("report %+v", rep)
	}
	for f, err := range s.Findings(context.Background(), FindingQuery{Session: sess(7).ID}) {
		if diff := cmp.Diff(found(7), f); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func TestFindingQueries(t *testing.T) {
	r, err := OpenReadOnly(withFindings(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pick := func(keep func(n int) bool) []finding.ID {
		var out []finding.ID
		for n := range 100 {
			if keep(n) {
				out = append(out, found(n).ID)
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		q    FindingQuery
		want []finding.ID
	}{
		"all":      {FindingQuery{}, pick(func(int) bool { return true })},
		"severity": {FindingQuery{Severity: finding.High}, pick(func(n int) bool { return n%5 >= 3 })},
		"rule":     {FindingQuery{Rule: "rule-1"}, pick(func(n int) bool { return n%2 == 1 })},
		"since":    {FindingQuery{Since: epoch.Add(90 * time.Second)}, pick(func(n int) bool { return n >= 90 })},
		"until":    {FindingQuery{Until: epoch.Add(3 * time.Second)}, pick(func(n int) bool { return n < 3 })},
		"session":  {FindingQuery{Session: sess(5).ID}, pick(func(n int) bool { return n == 5 })},
		"limit":    {FindingQuery{Rule: "rule-0", Limit: 40}, pick(func(n int) bool { return n%2 == 0 && n >= 20 })},
		"none":     {FindingQuery{Rule: "x"}, nil},
	} {
		if got := findings(t, r, c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d findings, want %d", name, len(got), len(c.want))
		}
	}
}

// What is done to findings behind the store's back shows.
func TestVerifySeesFindings(t *testing.T) {
	for name, c := range map[string]struct{ do, want string }{
		"removed":           {`DELETE FROM finding WHERE rowid_ = 9`, "its finding was removed from the table"},
		"less severe":       {`UPDATE finding SET severity = 0 WHERE seq = 9`, "says something else than the finding's record"},
		"invented":          {`INSERT INTO finding VALUES ('x', 5000, 0, 4, 'r', '')`, "the ledger has no record of it"},
		"content gone":      {`UPDATE record SET body = NULL WHERE seq = 9`, "its content was removed"},
		"taken for another": {`UPDATE record SET kind = 1 WHERE seq = 9`, "it is a finding, stored as something else"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := withFindings(t)
			exec(t, raw(t, dir), strings.Replace(c.do, "rowid_", "seq", 1))
			d := verify(t, dir, VerifyOptions{}).Damage
			if d == nil || !strings.Contains(d.What, c.want) {
				t.Errorf("damage %+v, want %q", d, c.want)
			}
		})
	}
	dir := withFindings(t)
	forge(t, raw(t, dir), 9, false)
	if d := verify(t, dir, VerifyOptions{}).Damage; d == nil || d.Position != 9 {
		t.Errorf("damage %+v", d)
	}
}

func TestRetentionOfFindings(t *testing.T) {
	dir := withFindings(t)
	s, err := Open(dir, Options{Now: func() time.Time { return epoch.Add(150 * time.Second) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, err := s.Prune(context.Background(), Retention{Age: 100 * time.Second})
	if err != nil || p.Findings != 50 {
		t.Errorf("pruned %+v, %v", p, err)
	}
	if got := findings(t, s.Reader, FindingQuery{}); len(got) != 50 || got[0] != found(50).ID {
		t.Errorf("%d are left", len(got))
	}
	if rep := verify(t, dir, VerifyOptions{}); rep.Damage != nil || rep.Findings != 50 {
		t.Errorf("report %+v", rep)
	}
}

// A store of the schema before findings and recordings is brought up to date and
// keeps all it has.
func TestMigrationAddsFindingsAndRecordings(t *testing.T) {
	dir := filled(t)
	db := raw(t, dir)
	for _, do := range []string{`DROP TABLE finding; DROP TABLE recording`, `PRAGMA user_version = 2`} {
		if _, err := db.Exec(do); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenReadOnly(dir); err == nil {
		t.Error("a reader takes the old schema for the new one")
	}
	s := open(t, dir)
	if _, err := s.Append(context.Background(), Batch{
		Findings: []finding.Finding{found(1)}, Recordings: []session.Recording{stated(1, session.RecordingBegun, 1)},
	}); err != nil {
		t.Fatal(err)
	}
	if rep := verify(t, dir, VerifyOptions{}); rep.Damage != nil || rep.Revisions != 20 || rep.Findings != 1 || rep.Recordings != 1 {
		t.Errorf("report %+v", rep)
	}
}
