package rootfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

func TestRead(t *testing.T) {
	files := fstest.MapFS{
		"etc/a": {Data: []byte("12345")}, "etc/pipe": {Mode: fs.ModeNamedPipe}, "etc/null": {Mode: fs.ModeDevice | fs.ModeCharDevice},
	}
	for name, want := range map[string]string{"/etc/a": "12345", "etc/a": "12345", "//etc/x/../a/": "12345"} {
		if got, err := rootfs.Read(files, name, 5); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if b, err := rootfs.Read(files, "/etc/a", 4); b != nil || err == nil || err.Error() != "read /etc/a: longer than 4 bytes" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := rootfs.Read(files, "/none", 4); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), " /none:") {
		t.Error(err)
	}
	for _, name := range []string{"/etc/pipe", "/etc/null", "/etc", "/"} {
		if b, err := rootfs.Read(files, name, 4); err == nil {
			t.Errorf("%s: %q", name, b)
		}
	}
}

// TestUnder: a link that leads out of a root is not followed, since there it leads
// elsewhere.
func TestUnder(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"in": "a", "out": filepath.Join(root, "a")} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	files, done, err := rootfs.Under(root)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if b, err := rootfs.Read(files, "/in", 9); string(b) != "a" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := rootfs.Read(files, "/out", 9); err == nil {
		t.Errorf("%q", b)
	}
	all, done, err := rootfs.Under("/")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if b, err := rootfs.Read(all, filepath.Join(root, "out"), 9); string(b) != "a" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
