package ruleset

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestRuleFilesAreOfOneDirectory: while a directory of rules is put in another's
// place, again and again, what is read is all of one or all of the other, or nothing.
func TestRuleFilesAreOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "rules")
	swap := func(n int) error {
		made := filepath.Join(dir, fmt.Sprint(n))
		err := os.Mkdir(made, 0o700)
		for _, name := range []string{"a.yaml", "below/b.yaml", "z.yml"} {
			if err == nil {
				err = os.MkdirAll(filepath.Dir(filepath.Join(made, name)), 0o700)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(made, name), fmt.Append(nil, n), 0o600)
			}
		}
		if err == nil {
			err = os.Symlink(made, link+".new")
		}
		if err == nil {
			err = os.Rename(link+".new", link)
		}
		if err == nil && n > 0 {
			err = os.RemoveAll(filepath.Join(dir, fmt.Sprint(n-1)))
		}
		return err
	}
	if err := swap(0); err != nil {
		if runtime.GOOS != "windows" {
			t.Fatal(err)
		}
		t.Skip("no symbolic links here:", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() {
		var err error
		for n := 1; err == nil && ctx.Err() == nil; n++ {
			err = swap(n)
			time.Sleep(time.Duration(n%5) * time.Millisecond)
		}
		done <- err
	}()
	read, refused := map[string]bool{}, 0
	for ctx.Err() == nil {
		files, err := Files([]string{link}, false)
		if err != nil {
			refused++ // the one that was read was taken away
			continue
		}
		if len(files) != 3 {
			t.Fatalf("%d files", len(files))
		}
		for i, f := range files {
			if string(f.Data) != string(files[0].Data) || !strings.HasPrefix(f.Name, link) {
				t.Fatalf("file %d, %s: of %s, the first of %s", i, f.Name, f.Data, files[0].Data)
			}
		}
		read[string(files[0].Data)] = true
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(read) < 2 {
		t.Errorf("it was never changed while it was read: %d directories read, %d times none", len(read), refused)
	}
	t.Logf("%d directories read, %d times none", len(read), refused)
}
