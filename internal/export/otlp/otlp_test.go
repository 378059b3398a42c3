package otlp_test

import (
	"encoding/json"
	"errors"
	"testing"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/otlp"
)

func TestGolden(t *testing.T) {
	exporttest.Golden(t, otlp.New(exporttest.Origin()), func(b []byte) []byte {
		var data logspb.LogsData
		if err := proto.Unmarshal(b, &data); err != nil {
			t.Fatal(err)
		}
		text, err := protojson.Marshal(&data)
		if err != nil {
			t.Fatal(err)
		}
		var plain any // protojson varies its blanks on purpose
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		text, _ = json.Marshal(plain)
		return text
	})
}

// TestBodiesReadAsOne holds that bodies put together are what the protocol has:
// one request with all records.
func TestBodiesReadAsOne(t *testing.T) {
	f := otlp.New(exporttest.Origin())
	var all []export.Record
	for _, r := range exporttest.Corpus(t, "../../..") {
		all = append(all, r)
	}
	all = append(all, exporttest.Records()...)
	bodies, err := f.Bodies(all, 100<<10)
	if err != nil || len(bodies) < 2 {
		t.Fatalf("%d bodies, %v", len(bodies), err)
	}
	n := 0
	for _, b := range bodies {
		var data logspb.LogsData
		if err := (proto.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(b, &data); err != nil {
			t.Fatal(err)
		}
		for _, r := range data.GetResourceLogs() {
			if len(r.GetResource().GetAttributes()) < 3 || len(r.GetScopeLogs()) != 1 {
				t.Fatalf("resource %v", r.GetResource())
			}
			for _, l := range r.GetScopeLogs()[0].GetLogRecords() {
				n++
				if l.GetTimeUnixNano() == 0 || l.GetSeverityNumber() == 0 || l.GetEventName() == "" || l.GetBody().GetStringValue() == "" {
					t.Errorf("record %v", l)
				}
			}
		}
	}
	if n != len(all) {
		t.Errorf("%d records in, %d out", len(all), n)
	}
}

// response returns an ExportLogsServiceResponse with a partial success.
func response(rejected uint64, message string) []byte {
	var inner []byte
	inner = protowire.AppendVarint(protowire.AppendTag(inner, 1, protowire.VarintType), rejected)
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), message)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
}

func TestPartialSuccess(t *testing.T) {
	var refused *export.Refused
	if err := otlp.Partly(response(3, "too old")); !errors.As(err, &refused) || !refused.Final {
		t.Errorf("3 rejected: %v", err)
	}
	for _, fine := range [][]byte{nil, response(0, "be careful")} {
		if err := otlp.Partly(fine); err != nil {
			t.Errorf("%x: %v", fine, err)
		}
	}
	if err := otlp.Partly([]byte{0xff}); err == nil || errors.As(err, &refused) {
		t.Errorf("garbage: %v", err)
	}
}

func FuzzPartly(f *testing.F) {
	f.Add(response(3, "x"))
	f.Add([]byte{0x0a, 0x02, 0x08})
	f.Fuzz(func(_ *testing.T, b []byte) { _ = otlp.Partly(b) })
}
