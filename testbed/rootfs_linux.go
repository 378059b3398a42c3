package testbed

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// WriteRootfs writes a tar file with a root file system for containers: static
// busybox with its applets as symbolic links, and actor (see testbed/actor).
// A program makes it once.
func WriteRootfs(ctx context.Context, path string) error {
	rootfs.mu.Lock()
	defer rootfs.mu.Unlock()
	if rootfs.tar == nil {
		made, err := makeRootfs(ctx)
		if err != nil {
			return fmt.Errorf("write root file system: %w", err)
		}
		rootfs.tar = made
	}
	return os.WriteFile(path, rootfs.tar, 0o644)
}

// rootfs is what WriteRootfs writes. It is kept for the whole program: building
// actor for each daemon takes longer than to start some.
var rootfs struct {
	mu  sync.Mutex
	tar []byte // guarded by mu; nil until it was made
}

func makeRootfs(ctx context.Context) ([]byte, error) {
	busybox, err := LookPath("busybox")
	if err != nil {
		return nil, err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list applets of %s: %w", busybox, err)
	}
	dir, err := os.MkdirTemp("", "actor")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	actor := filepath.Join(dir, "actor")
	if err := BuildActor(ctx, actor); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err = errors.Join(
		addDirs(w, "bin", "etc", "proc", "root", "sys", "tmp", "truth"),
		addFile(w, "bin/busybox", busybox),
		addFile(w, "bin/actor", actor),
		addLinks(w, strings.Fields(string(applets))),
		w.Close(),
	)
	return out.Bytes(), err
}

// UnpackRootfs makes the directory dir and puts the root file system into it.
func UnpackRootfs(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	file := dir + ".tar"
	defer os.Remove(file)
	if err := WriteRootfs(ctx, file); err != nil {
		return err
	}
	_, err := Output(exec.CommandContext(ctx, "tar", "-x", "-f", file, "-C", dir))
	return err
}

// Output runs cmd and returns its standard output without surrounding blanks;
// the error holds its standard error.
func Output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// BuildActor builds testbed/actor as a static program.
func BuildActor(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path,
		"github.com/sallyport/sallyport/testbed/actor")
	cmd.Env = append(Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build actor: %w: %s", err, out)
	}
	return nil
}

func addDirs(w *tar.Writer, names ...string) error {
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: n + "/", Mode: 0o1777}); err != nil {
			return err
		}
	}
	return nil
}

func addFile(w *tar.Writer, name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func addLinks(w *tar.Writer, applets []string) error {
	for _, a := range applets {
		if a == "busybox" || filepath.Base(a) != a {
			continue
		}
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + a, Linkname: "busybox", Mode: 0o777})
		if err != nil {
			return err
		}
	}
	return nil
}
