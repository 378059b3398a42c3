package filelock_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/lib/filelock"
)

func TestTry(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a, b := open(), open()
	defer b.Close()
	if ok, err := filelock.Try(a); !ok || err != nil {
		t.Fatalf("the first: %v, %v", ok, err)
	}
	if ok, err := filelock.Try(b); ok || err != nil {
		t.Errorf("the second: %v, %v, want false", ok, err)
	}
	_ = a.Close()
	if ok, err := filelock.Try(b); !ok || err != nil {
		t.Errorf("after the first is closed: %v, %v", ok, err)
	}
}
