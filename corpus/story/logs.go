package story

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Reader is what reads one log of another tool's.
type Reader interface {
	Record(data []byte) ([]event.Observation, error)
}

// Raw returns a raw file of a story of corpus/logs.
func Raw(t testing.TB, name, file string) []byte {
	t.Helper()
	ar, err := txtar.ParseFile(filepath.Join(root(t), "corpus", "logs", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ar.Files {
		if f.Name == file {
			return f.Data
		}
	}
	t.Fatalf("story %s has no %s", name, file)
	return nil
}

// root is the directory of the module, above that of the package whose tests run.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the tests")
	return ""
}

// Feed gives data to r, line by line, and returns what it makes of them and how
// many lines it refuses. It fails the test unless each observation is the same
// after it was stored.
func Feed(t testing.TB, r Reader, data []byte) (out []event.Observation, refused int) {
	t.Helper()
	for line := range bytes.Lines(data) {
		obs, err := r.Record(bytes.TrimRight(line, "\r\n"))
		if err != nil {
			refused++
		}
		out = append(out, obs...)
	}
	if e, ok := r.(interface{ End() []event.Observation }); ok {
		out = append(out, e.End()...)
	}
	for _, o := range out {
		b, err := event.Marshal(o)
		if err != nil {
			t.Fatalf("%#v: %v", o, err)
		}
		again, err := event.Unmarshal(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if b2, err := event.Marshal(again); err != nil || !bytes.Equal(b, b2) || reflect.TypeOf(o) != reflect.TypeOf(again) {
			t.Fatalf("stored it is another: %v\n%s\n%s", err, b, b2)
		}
	}
	return out, refused
}
