package ocsf_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/ocsf"
)

func TestGolden(t *testing.T) { exporttest.Golden(t, ocsf.New(exporttest.Origin()), nil) }

// TestSchema holds every event to testdata/ocsf.schema.json: names, types,
// requirements and values of the classes as the schema 1.8.0 defines them.
// Names that it does not have are refused.
func TestSchema(t *testing.T) {
	s := exporttest.Schema(t, "testdata/ocsf.schema.json")
	f := ocsf.New(exporttest.Origin())
	classes := map[string]int{}
	check := func(name string, r export.Record) {
		messages, err := f.Encode(r)
		if err != nil || len(messages) == 0 {
			t.Fatalf("%s: %d messages, %v", name, len(messages), err)
		}
		seen := map[any]bool{}
		for _, m := range messages {
			doc, err := exporttest.Check(s, m)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, m)
			}
			e := doc.(map[string]any)
			classes[fmt.Sprint(e["class_uid"])]++
			uid := e["metadata"].(map[string]any)["uid"]
			if seen[uid] {
				t.Errorf("%s: two events of one record have the uid %v", name, uid)
			}
			seen[uid] = true
		}
	}
	for _, r := range exporttest.Records() {
		check("record", r)
	}
	for name, r := range exporttest.Corpus(t, "../../..") {
		check(name, r)
	}
	for _, class := range []string{"1007", "6003", "2004"} {
		if classes[class] < 2 {
			t.Errorf("%d events of class %s were checked", classes[class], class)
		}
	}
}

// TestComplianceSchema holds what Compliance writes to the same schema, for findings and
// for checks that found nothing; and that a name that is no UTF-8 does no harm.
func TestComplianceSchema(t *testing.T) {
	s := exporttest.Schema(t, "testdata/ocsf.schema.json")
	plain := finding.Finding{ID: "abcdefghijklmnop", Rule: "SP-DKR-020", Title: "container with a socket", Subject: "host:a/container/\xff", Severity: finding.Info}
	list := []ocsf.Check{
		{Finding: plain, Status: ocsf.Pass}, {Finding: plain, Status: ocsf.Warning, Details: []string{"not read\xff"}},
	}
	for _, r := range exporttest.Records() {
		if r.Finding != nil {
			list = append(list, ocsf.Check{Finding: *r.Finding, Status: ocsf.Fail}, ocsf.Check{Finding: *r.Finding, Status: ocsf.Fail, Suppressed: true, Comment: "ann: so be it"})
		}
	}
	for n := range list {
		text, err := ocsf.Compliance(exporttest.Origin(), &list[n])
		if err != nil {
			t.Fatal(err)
		}
		doc, err := exporttest.Check(s, text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		e := doc.(map[string]any)
		got := fmt.Sprint(e["class_uid"], " ", e["compliance"].(map[string]any)["status_id"], " ", e["status_id"])
		want := fmt.Sprint("2003 ", int(list[n].Status), " ", map[bool]any{true: 3, false: map[bool]any{true: 1, false: nil}[list[n].Status == ocsf.Fail]}[list[n].Suppressed])
		if got != want {
			t.Errorf("%s, want %s\n%s", got, want, text)
		}
	}
	if len(list) < 6 {
		t.Errorf("only %d checks", len(list))
	}
}
