package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/testbed"
)

// TestArchive lets another program read what was written.
func TestArchive(t *testing.T) {
	busybox, err := testbed.LookPath("busybox")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "five")
	if err := os.WriteFile(file, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := newArchive(&out)
	a.addFile("a/b/five", file)
	a.addLink("a/link", "b/five")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	cpio := exec.CommandContext(t.Context(), busybox, "cpio", "-i")
	cpio.Dir, cpio.Stdin = dir, &out
	if _, err := testbed.Output(cpio); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "a", "link"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("12345", string(got)); diff != "" {
		t.Error(diff)
	}
}

// TestArchiveMissingFile says which file it was.
func TestArchiveMissingFile(t *testing.T) {
	a := newArchive(new(bytes.Buffer))
	a.addFile("a", "/nowhere/at-all")
	if err := a.close(); err == nil || !strings.Contains(err.Error(), "/nowhere/at-all") {
		t.Errorf("got error %v, want one that names the file", err)
	}
}
