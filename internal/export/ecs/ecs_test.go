package ecs_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/ecs"
	"github.com/sallyport/sallyport/internal/export/exporttest"
)

func TestGolden(t *testing.T) { exporttest.Golden(t, ecs.New(exporttest.Origin()), nil) }

// types lists, by category, the values of event.type that the schema expects.
var types = map[string][]string{
	"session": {"start", "end", "info"}, "process": {"access", "change", "end", "info", "start"},
	"configuration": {"access", "change", "creation", "deletion", "info"},
}

// TestFields holds every field to testdata/fields.json, names and types as the
// schema defines them; only what is under "sallyport" is free.
func TestFields(t *testing.T) {
	text, err := os.ReadFile("testdata/fields.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct{ Fields map[string][]string }
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	f := ecs.New(exporttest.Origin())
	check := func(name string, r export.Record) {
		messages, err := f.Encode(r)
		if err != nil || len(messages) == 0 {
			t.Fatalf("%s: %d messages, %v", name, len(messages), err)
		}
		for _, m := range messages {
			var doc map[string]any
			if err := json.Unmarshal(m, &doc); err != nil {
				t.Fatal(err)
			}
			if err := document(known.Fields, doc); err != nil {
				t.Errorf("%s: %v\n%s", name, err, m)
			}
		}
	}
	for _, r := range exporttest.Records() {
		check("record", r)
	}
	for name, r := range exporttest.Corpus(t, "../../..") {
		check(name, r)
	}
}

func document(known map[string][]string, doc map[string]any) error {
	e, _ := doc["event"].(map[string]any)
	if doc["@timestamp"] == nil || doc["ecs"] == nil || e["id"] == nil {
		return fmt.Errorf("no @timestamp, ecs.version or event.id")
	}
	for _, c := range e["category"].([]any) {
		for _, v := range e["type"].([]any) {
			if !slices.Contains(types[c.(string)], v.(string)) {
				return fmt.Errorf("event.type %v in category %v", v, c)
			}
		}
	}
	return walk(known, "", doc)
}

func walk(known map[string][]string, prefix string, doc map[string]any) error {
	for k, v := range doc {
		name := prefix + k
		if strings.HasPrefix(name, "sallyport") {
			continue
		}
		def, ok := known[name]
		inner, isObject := v.(map[string]any)
		if !ok || isObject && def[0] != "object" {
			if !isObject {
				return fmt.Errorf("%s is no field", name)
			}
			if err := walk(known, name+".", inner); err != nil {
				return err
			}
			continue
		}
		if err := fits(def, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func fits(def []string, v any) error {
	list, isList := v.([]any)
	if isList != (len(def) > 1) {
		return fmt.Errorf("%v, want %v", v, def)
	}
	if !isList {
		list = []any{v}
	}
	for _, v := range list {
		s, isText := v.(string)
		n, isNumber := v.(float64)
		_, isBool := v.(bool)
		ok := false
		switch def[0] {
		case "keyword", "wildcard", "match_only_text", "text":
			ok = isText && s != ""
		case "long":
			ok = isNumber && n == float64(int64(n))
		case "boolean":
			ok = isBool
		case "date":
			_, err := time.Parse(time.RFC3339Nano, s)
			ok = err == nil
		case "ip":
			_, err := netip.ParseAddr(s)
			ok = err == nil
		case "object":
			ok = !isText && !isNumber
		}
		if !ok {
			return fmt.Errorf("%v is no %s", v, def[0])
		}
	}
	return nil
}
