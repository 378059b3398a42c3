package ocsf_test

import (
	"fmt"
	"testing"

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
