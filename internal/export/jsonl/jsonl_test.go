package jsonl_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/jsonl"
)

func TestGolden(t *testing.T) { exporttest.Golden(t, jsonl.New(), nil) }

// TestLinesAreRecords holds each line to the published schemas, and reads it
// back.
func TestLinesAreRecords(t *testing.T) {
	sessions := exporttest.Schema(t, "../../../docs/reference/session.schema.json")
	findings := exporttest.Schema(t, "../../../docs/reference/finding.schema.json")
	check := func(name string, r export.Record) {
		messages, err := jsonl.New().Encode(r)
		if err != nil || len(messages) != 1 || bytes.ContainsAny(messages[0], "\n") {
			t.Fatalf("%s: %q, %v", name, messages, err)
		}
		var parts struct {
			Session, Finding json.RawMessage
		}
		if err := json.Unmarshal(messages[0], &parts); err != nil {
			t.Fatal(err)
		}
		if parts.Session != nil {
			_, err = exporttest.Check(sessions, parts.Session)
		} else {
			_, err = exporttest.Check(findings, parts.Finding)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, messages[0])
		}
		var back export.Record
		if err := json.Unmarshal(messages[0], &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if diff := cmp.Diff(string(messages[0]), string(again)); err != nil || diff != "" {
			t.Errorf("%s (-written +read and written): %v\n%s", name, err, diff)
		}
	}
	for _, r := range exporttest.Records() {
		check("record", r)
	}
	for name, r := range exporttest.Corpus(t, "../../..") {
		check(name, r)
	}
}
