package process_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/lib/process"
)

// table makes a /proc of files.
func table(t *testing.T, files map[string]string) process.Table {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return process.Table(dir)
}

func TestNamed(t *testing.T) {
	p := table(t, map[string]string{
		"20/comm": "kubelet\n", "3/comm": "kubelet\n", "4/comm": "kubelet-x\n", "5/stat": "it has ended", "self/comm": "kubelet\n", "1x/comm": "kubelet\n",
	})
	if got, err := p.Named("kubelet"); err != nil || !slices.Equal(got, []uint32{3, 20}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := p.Named("none"); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := process.Table(string(p) + "/none").Named("kubelet"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a /proc there is none: %v", err)
	}
	// One that cannot be read may be a kubelet.
	if err := os.MkdirAll(string(p)+"/6/comm", 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Named("kubelet"); err == nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestRootsOwn(t *testing.T) {
	p := table(t, map[string]string{
		"1/status": "Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t1\t1\t1\t1\n", "2/status": "Uid:\t1000\t0\t0\t0\n", "3/status": "Uid:\t0\t1000\t0\t0\n", "4/status": "Name:\tx\n",
	})
	for pid, want := range map[uint32]bool{1: true, 2: false, 3: false} {
		if got, err := p.RootsOwn(pid); got != want || err != nil {
			t.Errorf("%d: %v, %v", pid, got, err)
		}
	}
	for _, pid := range []uint32{4, 5} {
		if got, err := p.RootsOwn(pid); got || err == nil {
			t.Errorf("%d: %v, %v", pid, got, err)
		}
	}
}

func TestCommandLine(t *testing.T) {
	p := table(t, map[string]string{
		"1/cmdline": "a\x00-b\x00\x00", "2/cmdline": "", "3/cmdline": strings.Repeat("x", 1<<20), "1/environ": "A=1\x00AB=2\x00B=x=y\x00",
	})
	if got, err := p.CommandLine(1); err != nil || !slices.Equal(got, []string{"a", "-b", ""}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, pid := range []uint32{2, 3, 4} {
		if got, err := p.CommandLine(pid); err == nil {
			t.Errorf("%d: %.20q", pid, got)
		}
	}
	for name, want := range map[string]string{"A": "1", "AB": "2", "B": "x=y", "C": ""} {
		if got, err := p.Variable(1, name); got != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if v, err := p.Variable(4, "A"); err == nil {
		t.Errorf("%q of no process", v)
	}
}

// TestHere asks of this very process.
func TestHere(t *testing.T) {
	self := uint32(os.Getpid())
	name, err := process.Here.Name(self)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /proc here")
	}
	if pids, err2 := process.Here.Named(name); err != nil || err2 != nil || !slices.Contains(pids, self) {
		t.Errorf("%q: %v, %v, %v", name, pids, err, err2)
	}
	if words, err := process.Here.CommandLine(self); err != nil || !slices.Equal(words, os.Args) {
		t.Errorf("%q, %v", words, err)
	}
	if root, err := process.Here.RootsOwn(self); err != nil || root != (os.Getuid() == 0 && os.Geteuid() == 0) {
		t.Errorf("root's: %v, %v", root, err)
	}
	if same, err := process.Here.Shares(self, "mnt"); err != nil || !same {
		t.Errorf("our own mounts: %v, %v", same, err)
	}
	if same, err := process.Here.Shares(self, "none"); err == nil {
		t.Errorf("no such namespace: %v", same)
	}
}
