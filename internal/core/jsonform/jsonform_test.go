package jsonform

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\x00\x1f \x7f\"\\<>&", "\b\f\n\r\t", "ä€😀", "\u2028\u2029", "\xff", "a\x80b", "\xed\xa0\x80", "\ufffd", "€\xe2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendString([]byte("before"), s); string(got) != "before"+string(want) {
			t.Errorf("%q = %s, want before%s", s, got, want)
		}
	})
}

type sample struct {
	Uint  uint64              `json:"uint"`
	Int   int64               `json:"int,omitempty"`
	Flag  bool                `json:"flag,omitempty"`
	Text  string              `json:"text"`
	Some  string              `json:"some,omitempty"`
	Time  time.Time           `json:"time"`
	List  []string            `json:"list,omitempty"`
	All   []string            `json:"all"`
	Map   map[string]string   `json:"map,omitempty"`
	Lists map[string][]string `json:"lists,omitempty"`
}

func TestWriterWritesWhatEncodingJSONWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.Make[sample]().Draw(t, "sample")
		s.Time = time.Unix(rapid.Int64Range(-70e9, 260e9).Draw(t, "seconds"), rapid.Int64().Draw(t, "ns")).In(
			time.FixedZone("", rapid.IntRange(-90000, 90000).Draw(t, "offset")))
		want, wantErr := json.Marshal(s)
		var w Writer
		w.Begin()
		w.Uint("uint", s.Uint)
		w.SomeInt("int", s.Int)
		w.SomeBool("flag", s.Flag)
		w.Text("text", s.Text)
		w.SomeText("some", s.Some)
		w.Time("time", s.Time)
		w.SomeTexts("list", s.List)
		w.Texts("all", s.All)
		w.Map("map", s.Map)
		w.Lists("lists", s.Lists)
		w.End()
		if (w.Err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, want %v", w.Err, wantErr)
		}
		if wantErr == nil && string(w.B) != string(want) {
			t.Fatalf("got  %s\nwant %s", w.B, want)
		}
	})
}
