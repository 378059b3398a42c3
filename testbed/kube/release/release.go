//go:build linux

// Package release makes the Kubernetes programs of the test bed from their Go
// modules, once, and finds them again: a control plane, a kubelet, a client and
// etcd, as links to one binary in a directory of the user's cache.
package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/testbed/built"
)

// Programs are what a release holds.
var Programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"}

var kube = built.Release{Name: "kube", Module: "testbed/kube/build", Of: "k8s.io/kubernetes", Compile: compile}

// ErrNotBuilt says that Build has to run first.
var ErrNotBuilt = errors.New("Kubernetes is not built yet: make testbed-kube (some 10 minutes)")

// Find returns the directory with Programs, or ErrNotBuilt. It works anywhere
// in the repository.
func Find(ctx context.Context) (string, error) {
	dir, err := kube.Find(ctx)
	if errors.Is(err, built.ErrNot) {
		err = ErrNotBuilt
	}
	return dir, err
}

// Build builds Programs unless they are there, and returns their directory. Two
// at once do it once. What the compiler says goes to log.
func Build(ctx context.Context, log io.Writer) (string, error) { return kube.Make(ctx, log) }

// compile makes the binary and its names. Without its version a server calls itself
// v0.0.0 and refuses its own compatibility checks.
func compile(ctx context.Context, b *built.Build) error {
	major, rest, _ := strings.Cut(b.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	var set []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range [][2]string{{"Version", "v" + b.Version}, {"Major", major}, {"Minor", minor}, {"TreeState", "clean"}} {
			set = append(set, fmt.Sprintf("%s.git%s=%s", pkg, v[0], v[1]))
		}
	}
	if err := b.Go(ctx, built.Program{Name: "kube", Package: ".", Set: set}); err != nil {
		return err
	}
	for _, name := range Programs {
		if err := os.Symlink("kube", filepath.Join(b.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}
