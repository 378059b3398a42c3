package logfile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// records reads all of data; records that are none are "!" and their error.
func records(t *testing.T, data []byte) ([]string, error) {
	t.Helper()
	f, err := NewFile("test", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var out []string
	for r, err := range f.Records() {
		if err != nil {
			return out, err
		}
		if r.Err != nil {
			out = append(out, "!"+r.Err.Error())
			continue
		}
		out = append(out, string(r.Data))
	}
	return out, f.Close()
}

func TestRecords(t *testing.T) {
	for _, tc := range []struct {
		name, data string
		want       []string
		broken     bool
	}{
		{"lines", "one\r\n\n two\nlast", []string{"one", " two", "last"}, false},
		{"json lines", "{\"a\":1}\n{\"a\":2}\nnot json\n", []string{`{"a":1}`, `{"a":2}`, "not json"}, false},
		{"a damaged first line", "{\"a\":1\n{\"a\":2}\n", []string{`{"a":1`, `{"a":2}`}, false},
		{"pretty list", "[\n  {\n \"a\": \"}\\\"\"\n },\n {\"b\":[1,{}]}\n]\n", []string{"{\n \"a\": \"}\\\"\"\n }", `{"b":[1,{}]}`}, false},
		{"one line list", `[{"a":1},{"a":2}]`, []string{`{"a":1}`, `{"a":2}`}, false},
		{"wrapped", "{\n \"events\": [\n {\"a\":1},\n {\"a\":2} ],\n \"searchedLogStreams\": [{\"x\":\"}\"}], \"n\": null\n}\n", []string{`{"a":1}`, `{"a":2}`}, false},
		{"wrapped lines", "{\"records\":[{\"a\":1}]}\n{\"records\":[{\"a\":2}]}\n", []string{`{"a":1}`, `{"a":2}`}, false},
		{"not a wrapper", "{\n \"events\": 1,\n \"records\": [2]}", []string{"{\n \"events\": 1,\n \"records\": [2]}"}, false},
		{"cut short", "[\n {\"a\":1},\n {\"a\":", []string{`{"a":1}`}, true},
		{"no value", "[\n {\"a\":1}, x ]", []string{`{"a":1}`}, true},
		{"too many brackets", "[\n {\"a\":1}]]", []string{`{"a":1}`}, true},
		{"empty", "", nil, false},
		{"a byte order mark", "\xef\xbb\xbf{\"a\":1}\n{\"a\":2}\n", []string{`{"a":1}`, `{"a":2}`}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := records(t, []byte(tc.data))
			if !slices.Equal(got, tc.want) || (err != nil) != tc.broken {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// TestCutShort: of a packed file that ends too early, be it at once, everything before
// its end is read, and the end is an error that names the file.
func TestCutShort(t *testing.T) {
	lines := strings.Repeat("0123456789abcdef\n", 10)
	var packed, zpacked bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(lines))
	_ = z.Flush()
	zz, err := zstd.NewWriter(&zpacked)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = zz.Write([]byte(lines))
	_ = zz.Flush()
	for name, data := range map[string][]byte{"gzip": packed.Bytes(), "zstd": zpacked.Bytes()} {
		got, err := records(t, data)
		if len(got) != 10 || err == nil || !strings.Contains(err.Error(), "read test: unexpected EOF") {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
}

func TestLongRecordIsPassedOver(t *testing.T) {
	long := strings.Repeat("x", RecordMax+chunk)
	want := []string{"a", "!" + ErrTooLong.Error(), "b"}
	if got, err := records(t, []byte("a\n"+long+"\nb\n")); err != nil || !slices.Equal(got, want) {
		t.Errorf("lines: %.60q, %v", got, err)
	}
	want = []string{"{}", "!" + ErrTooLong.Error(), "{}"}
	if got, err := records(t, []byte("[\n{},{\"a\":\""+long+"\"},{}]")); err != nil || !slices.Equal(got, want) {
		t.Errorf("values: %.60q, %v", got, err)
	}
}

func TestCompressed(t *testing.T) {
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write([]byte("a\nb\n"))
	g.Close()
	z, _ := zstd.NewWriter(&zs)
	z.Write([]byte("a\nb\n"))
	z.Close()
	for name, data := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		if got, err := records(t, data); err != nil || !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := records(t, gz.Bytes()[:gz.Len()-6]); err == nil {
		t.Error("a gzip file that is cut short is read without an error")
	}
}

func FuzzRecords(f *testing.F) {
	for _, s := range []string{"a\nb", "{\"events\":[{\"a\":1}],\"b\":2}", "[\n{\"a\":\"\\\"\"}]", "\x1f\x8b", "\x28\xb5\x2f\xfd"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := records(t, data)
		if errors.Is(err, errBroken) {
			return
		}
		for _, r := range got {
			if len(r) > RecordMax {
				t.Fatalf("a record of %d bytes", len(r))
			}
		}
	})
}
