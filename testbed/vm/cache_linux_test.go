package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestCached takes what is there when the archive cannot be asked.
func TestCached(t *testing.T) {
	cause := errors.New("no archive")
	dir := t.TempDir()
	if _, err := cached(dir, "6.1", cause); !errors.Is(err, cause) {
		t.Errorf("empty cache: got error %v, want the cause", err)
	}
	for _, name := range []string{"linux-image-6.1.0-53-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.12.1-amd64"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := cached(dir, "6.1", cause)
	if err != nil || got != "linux-image-6.1.0-56-amd64" {
		t.Errorf("got %s, %v, want the newest of 6.1", got, err)
	}
}

// TestParseReport finds the report between what the kernel says.
func TestParseReport(t *testing.T) {
	for console, want := range map[string]string{
		"": "no report on the console",
		"oops\r\n" + BeginReport + "\r\n{\"kernel\":\"6.1\"}":                              "no report on the console",
		BeginReport + "\r\n{\"ker" + EndReport:                                             "read report: unexpected end of JSON input",
		"hello\r\n" + BeginReport + "\r\n{\"kernel\":\"6.1\"}\r\n" + EndReport + "\r\nbye": "",
	} {
		r, err := parseReport([]byte(console))
		switch {
		case err == nil && (want != "" || r.Kernel != "6.1"):
			t.Errorf("console %q: got %+v, want error %q", console, r, want)
		case err != nil && err.Error() != want:
			t.Errorf("console %q: got error %q, want %q", console, err, want)
		}
	}
}
