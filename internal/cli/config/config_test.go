package config

import (
	"bytes"
	"testing"
	"time"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"":                     {},
		"1h":                   now.Add(-time.Hour),
		"7d":                   now.AddDate(0, 0, -7),
		"2026-11-01T00:00:00Z": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := ParseSince(in, now); err != nil || !got.Equal(want) {
			t.Errorf("ParseSince(%q) = %v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"yesterday", "-1h", "1", "h", "9999999d", "NaNd", "Infd"} {
		if got, err := ParseSince(bad, now); err == nil {
			t.Errorf("ParseSince(%q) = %v", bad, got)
		}
	}
}

// FuzzConfig: any file is either taken or refused with its line.
func FuzzConfig(f *testing.F) {
	f.Add("version: 1\nretention:\n  age: 30d\n  size: 2GiB\n")
	f.Add("docker: [a]\n")
	f.Add("a: &a [*a]\n")
	f.Add("listen: 127.0.0.1:0\nlisten: off\n")
	f.Add("retention: {age: 1e300d}\n? {a: b} : c\n")
	f.Fuzz(func(t *testing.T, text string) {
		var c Config
		if err := c.parse("f", []byte(text)); err != nil && !bytes.HasPrefix([]byte(err.Error()), []byte("f")) {
			t.Errorf("%q: the error does not name the file: %v", text, err)
		}
		if c.RetentionAge < 0 || c.RetentionSize < 0 {
			t.Errorf("%q: %+v", text, c)
		}
	})
}
