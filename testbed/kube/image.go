//go:build linux

package kube

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/testbed"
)

// Images that every node has; there is no registry, so pods need
// imagePullPolicy Never or a tag other than latest.
const (
	// Image holds static busybox with its applets as symbolic links in /bin,
	// and actor (see testbed/actor); by itself it sleeps.
	Image      = "sallyport.test/box:1"
	pauseImage = "sallyport.test/pause:1"
)

// buildImages writes box.tar and pause.tar for importImages.
func (c *Cluster) buildImages(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		layer := c.path("rootfs.tar")
		if err := testbed.WriteRootfs(ctx, layer); err != nil {
			return err
		}
		return writeImage(c.path("box.tar"), Image, layer, "/bin/sleep", "100000")
	})
	g.Go(func() error {
		layer := c.path("pause.layer")
		if err := writePause(ctx, layer); err != nil {
			return err
		}
		return writeImage(c.path("pause.tar"), pauseImage, layer, "/pause")
	})
	return g.Wait()
}

func (n *Node) importImages(ctx context.Context) error {
	if n.crio != nil {
		return n.crio.Import(ctx, n.cluster.path("box.tar"), Image)
	}
	for _, file := range []string{"pause.tar", "box.tar"} {
		if _, err := testbed.Output(n.Ctr(ctx, "images", "import", n.cluster.path(file))); err != nil {
			return err
		}
	}
	return nil
}

// pauseLayer is what writePause writes, made once for the whole program.
var pauseLayer struct {
	mu  sync.Mutex
	tar []byte // guarded by mu; nil until it was made
}

// writePause writes a layer with testbed/kube/pause.
func writePause(ctx context.Context, layer string) error {
	pauseLayer.mu.Lock()
	defer pauseLayer.mu.Unlock()
	if pauseLayer.tar == nil {
		made, err := buildPause(ctx)
		if err != nil {
			return fmt.Errorf("build pause: %w", err)
		}
		pauseLayer.tar = made
	}
	return os.WriteFile(layer, pauseLayer.tar, 0o644)
}

func buildPause(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "pause")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program,
		"github.com/sallyport/sallyport/testbed/kube/pause")
	cmd.Env = append(testbed.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	b, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	if err := errors.Join(addEntry(w, "pause", 0o755, b), w.Close()); err != nil {
		return nil, err
	}
	return tarred.Bytes(), nil
}

// descriptor, and what uses it, are of the OCI image specification.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const mediaTypes = "application/vnd.oci.image."

// writeImage writes an OCI archive with an image of one layer, a tar file, that
// runs argv.
func writeImage(archive, name, layer string, argv ...string) error {
	content, err := os.ReadFile(layer)
	if err != nil {
		return err
	}
	layerAt := describe("layer.v1.tar", content)
	config := encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": argv, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layerAt.Digest}},
	})
	configAt := describe("config.v1+json", config)
	manifest := encode(map[string]any{
		"schemaVersion": 2, "mediaType": mediaTypes + "manifest.v1+json",
		"config": configAt, "layers": []descriptor{layerAt},
	})
	at := describe("manifest.v1+json", manifest)
	at.Annotations = map[string]string{"io.containerd.image.name": name}
	index := encode(map[string]any{"schemaVersion": 2, "manifests": []descriptor{at}})

	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	return errors.Join(
		addEntry(w, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)),
		addEntry(w, "index.json", 0o644, index),
		addEntry(w, blob(layerAt), 0o644, content),
		addEntry(w, blob(configAt), 0o644, config),
		addEntry(w, blob(at), 0o644, manifest),
		w.Close(), f.Close(),
	)
}

func describe(kind string, content []byte) descriptor {
	return descriptor{
		MediaType: mediaTypes + kind,
		Digest:    fmt.Sprintf("sha256:%x", sha256.Sum256(content)),
		Size:      int64(len(content)),
	}
}

func blob(d descriptor) string { return "blobs/sha256/" + d.Digest[len("sha256:"):] }

// encode is for values that have no way to fail.
func encode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func addEntry(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(content))
	return err
}
