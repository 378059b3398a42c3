// Package jsonl is the product's own format: one JSON object a line, with the
// fields type ("session" or "finding"), position, changed, and session or
// finding in their public form (docs/reference/session.schema.json,
// finding.schema.json).
package jsonl

import (
	"encoding/json"

	"github.com/sallyport/sallyport/internal/export"
)

// New returns the format.
func New() export.Format {
	return export.Format{
		Name: "jsonl", ContentType: "application/x-ndjson", End: "\n",
		Encode: func(r export.Record) ([][]byte, error) {
			b, err := json.Marshal(r)
			return [][]byte{b}, err
		},
	}
}
