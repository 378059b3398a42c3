package falco_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/falco"
)

// schema is what Falcosidekick 2.34.1 demands (types.FalcoPayload, its Check and
// the priorities that it knows), and that it takes namespace and pod for strings
// without looking.
const schema = `{
  "type": "object", "additionalProperties": false,
  "required": ["output", "priority", "rule", "time", "output_fields", "source", "tags", "hostname"],
  "properties": {
    "uuid": {"type": "string"}, "output": {"type": "string", "minLength": 1}, "rule": {"type": "string", "minLength": 1},
    "priority": {"enum": ["Debug", "Informational", "Notice", "Warning", "Error", "Critical", "Alert", "Emergency"]},
    "time": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\\.[0-9]{1,9})?Z$"},
    "source": {"const": "sallyport"}, "hostname": {"type": "string", "minLength": 1},
    "tags": {"type": "array", "items": {"type": "string"}},
    "output_fields": {
      "type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "number", "boolean"]},
      "properties": {"k8s.ns.name": {"type": "string"}, "k8s.pod.name": {"type": "string"}}
    }
  }
}`

func TestGolden(t *testing.T) { exporttest.Golden(t, falco.New(exporttest.Origin()), nil) }

func TestFalcosidekickTakesIt(t *testing.T) {
	s := exporttest.SchemaText(t, []byte(schema))
	f := falco.New(exporttest.Origin())
	check := func(name string, r export.Record) {
		messages, err := f.Encode(r)
		if err != nil || len(messages) != 1 {
			t.Fatalf("%s: %d messages, %v", name, len(messages), err)
		}
		if _, err := exporttest.Check(s, messages[0]); err != nil {
			t.Errorf("%s: %v\n%s", name, err, messages[0])
		}
	}
	for _, r := range exporttest.Records() {
		check("record", r)
	}
	for name, r := range exporttest.Corpus(t, "../../..") {
		check(name, r)
	}
}
