//go:build linux

// Package release makes CRI-O, what it needs that Debian does not have, and a client
// from their Go modules, once, and finds them again in a directory of the user's cache.
package release

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	"github.com/sallyport/sallyport/testbed/built"
)

// The programs of a release.
const (
	CRIO   = "crio"
	Pinns  = "pinns"   // pins the namespaces of a pod for CRI-O
	Copy   = "copyimg" // puts images into CRI-O's storage
	Client = "cri"     // asks a CRI runtime, see testbed/crio/build
)

// Programs are what a release holds.
var Programs = []string{CRIO, Pinns, Copy, Client}

const module = "github.com/cri-o/cri-o"

// tags leave out what needs C, and storage that nobody here has.
const tags = "containers_image_openpgp containers_image_ostree_stub exclude_graphdriver_btrfs"

var crio = built.Release{Name: "crio", Module: "testbed/crio/build", Of: module, Compile: compile}

// Build builds Programs unless they are there, and returns their directory. Two at
// once do it once. Progress, and what the compiler says, go to log.
func Build(ctx context.Context, log io.Writer) (string, error) { return crio.Make(ctx, log) }

func compile(ctx context.Context, b *built.Build) error {
	for _, p := range []built.Program{
		{Name: CRIO, Package: module + "/cmd/crio", Tags: tags},
		{Name: Copy, Package: module + "/test/copyimg", Tags: tags},
		{Name: Client, Package: "."},
	} {
		b.Say("building %s of CRI-O %s", p.Name, b.Version)
		if err := b.Go(ctx, p); err != nil {
			return err
		}
	}
	return compilePinns(ctx, b)
}

// compilePinns makes the one program of CRI-O's that is in C.
func compilePinns(ctx context.Context, b *built.Build) error {
	dir, err := b.ModuleDir(ctx, module+"/cmd/crio")
	if err != nil {
		return err
	}
	sources, err := filepath.Glob(filepath.Join(dir, "pinns", "src", "*.c"))
	if err != nil {
		return err
	}
	args := append([]string{"-std=c99", "-Os", "-static", "-s", "-o", filepath.Join(b.Dir, Pinns)}, sources...)
	if out, err := exec.CommandContext(ctx, "gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", Pinns, err, out)
	}
	return nil
}
