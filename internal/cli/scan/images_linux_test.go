package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/posture/gain"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/images"
	"github.com/sallyport/sallyport/testbed/program"
)

// engineImage is an image with layers that a daemon must take, put upon each other so
// that what is asked of a container of it tells right from wrong.
func engineImage(t *testing.T) *images.Image {
	t.Helper()
	path, err := testbed.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	base := []images.File{
		{Name: "usr/", Dir: true}, {Name: "usr/bin/", Dir: true}, {Name: "bin", Link: "usr/bin"}, {Name: "etc/", Dir: true}, {Name: "tmp/", Dir: true, Mode: 0o1777},
		{Name: "usr/bin/busybox", Body: string(busybox)}, {Name: "etc/passwd", Mode: 0o644, Body: "root:x:0:0::/:/bin/sh\napp:x:1001:1001::/:/bin/sh\n"},
		{Name: "usr/bin/hard", Hard: "usr/bin/busybox"},
		{Name: "usr/bin/su", Body: string(busybox), Mode: 0o4755}, {Name: "usr/bin/tamed", Body: string(busybox), Mode: 0o4755}, {Name: "usr/bin/gone", Body: string(busybox), Mode: 0o6755},
		{Name: "opt/", Dir: true}, {Name: "opt/old/", Dir: true}, {Name: "opt/old/bash", Body: "x"},
	}
	for _, applet := range []string{"sh", "ash", "wget", "nc", "awk", "find", "sleep", "test", "id", "touch"} {
		base = append(base, images.File{Name: "usr/bin/" + applet, Link: "busybox"})
	}
	return &images.Image{
		Name: "sallyport.test/inside:1", User: "app", Cmd: []string{"/bin/sleep", "100000"},
		Layers: [][]byte{
			images.Layer(base...),
			images.Layer(images.File{Name: "usr/bin/.wh.gone", Empty: true}, images.File{Name: "usr/bin/.wh.nc", Empty: true}, images.File{Name: "usr/bin/tamed", Body: "x"},
				images.File{Name: "opt/", Dir: true}, images.File{Name: "opt/.wh..wh..opq", Empty: true}, images.File{Name: "opt/kubectl", Body: "x"}),
		},
	}
}

// wantInside is what is in engineImage.
func wantInside(i *images.Image) *inventory.Inside {
	uid := int64(1001)
	return &inventory.Inside{
		Image: i.ID(), By: inventory.ByDigest, User: "app", UID: &uid,
		Shells: []string{"/usr/bin/ash", "/usr/bin/busybox", "/usr/bin/sh"}, Interpreters: []string{"/usr/bin/awk", "/usr/bin/busybox"},
		Downloaders: []string{"/usr/bin/busybox", "/usr/bin/wget"}, Clients: []string{"/opt/kubectl"}, SetUID: []string{"/usr/bin/su"},
	}
}

// load gives an image to an engine.
func load(t *testing.T, e *docker.Engine, i *images.Image) {
	t.Helper()
	cmd := e.CLI(t.Context(), "load")
	cmd.Stdin = bytes.NewReader(images.Saved(i).Tar())
	if out, err := docker.Output(cmd); err != nil {
		t.Fatal(out, err)
	}
}

// TestImagesOfAHost looks into the image of a container of a real engine, and asks the
// container itself.
func TestImagesOfAHost(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	bin, e := program.New(t), docker.New(t, docker.Options{})
	img := engineImage(t)
	load(t, e, img)
	e.RunT(t, "--name", "inside", "--read-only", "--cap-drop", "NET_RAW", img.Name)
	file := filepath.Join(t.TempDir(), "h.scan")

	hostScan(t, bin, e, "collect", "--from", "host", "--images", "host", "-o", file)
	c := containerIn(t, file, "inside")
	if d := cmp.Diff(wantInside(img), c.Inside); d != "" {
		t.Errorf("inside (-want +got):\n%s", d)
	}
	askContainer(t, e, c.Inside)

	live := hostScan(t, bin, e, "who-can-exec", "--from", "host", "--images", "host", "--json", "inside")
	if again := hostScan(t, bin, e, "who-can-exec", "--from", file, "--json", "inside"); again != live {
		t.Errorf("the snapshot says\n%s\nand the host\n%s", again, live)
	}
	var line struct{ Gets []gain.Container }
	first, _, _ := strings.Cut(live, "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil || len(line.Gets) != 1 {
		t.Fatalf("%v: %s", err, first)
	}
	if g := line.Gets[0]; g.Power != gain.PowerUser || g.Tools != gain.ToolsShell || !g.Chooses || *g.User != 1001 || g.WritableRoot != inventory.No || g.Capabilities != gain.BaseNone {
		t.Errorf("%+v", g)
	}
	if out := hostScan(t, bin, e, "who-can-exec", "--from", "host", "--json", "inside"); !strings.Contains(out, `"tools":"unknown"`) {
		t.Errorf("what nobody looked into is known: %s", out)
	}
	cacheIsUsed(t, bin, e)
}

// containerIn returns a container of a snapshot's host.
func containerIn(t *testing.T, file, name string) *inventory.DockerOrCRI {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, _, err := scan.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	for n := range i.Hosts[0].Running {
		if c := &i.Hosts[0].Running[n]; c.Name == name && c.Inside != nil {
			return c
		}
	}
	t.Fatalf("%s was not looked into: %v", name, i.Unread)
	return nil
}

// askContainer asks a running container for what its image is said to hold: every program
// is there and can be executed, and nothing else is setuid.
func askContainer(t *testing.T, e *docker.Engine, in *inventory.Inside) {
	t.Helper()
	ask := func(args ...string) string {
		out, err := docker.Output(e.CLI(t.Context(), append([]string{"exec", "inside"}, args...)...))
		if err != nil {
			t.Errorf("%q: %s, %v", args, out, err)
		}
		return out
	}
	for _, p := range slices.Concat(in.Shells, in.Interpreters, in.Downloaders, in.Clients, in.SetUID) {
		ask("test", "-x", p)
	}
	if got := ask("find", "/", "-xdev", "-type", "f", "-perm", "-4000"); got != strings.Join(in.SetUID, "\n") {
		t.Errorf("setuid: %q", got)
	}
	if got := ask("id", "-u"); got != "1001" {
		t.Errorf("uid %s", got)
	}
	if _, err := docker.Output(e.CLI(t.Context(), "exec", "inside", "touch", "/tmp/x")); err == nil {
		t.Error("the root file system can be written")
	}
	if got := ask("find", "/opt", "-type", "f"); got != "/opt/kubectl" {
		t.Errorf("in a directory that was hidden: %q", got)
	}
	if got := ask("find", "/usr/bin", "-name", "gone"); got != "" {
		t.Errorf("what was removed is there: %q", got)
	}
}

// cacheIsUsed changes what is kept, which the next scan must say, and breaks it, which it
// must not.
func cacheIsUsed(t *testing.T, bin string, e *docker.Engine) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(bin), "cache", "sallyport", "images")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	ask := func() string {
		return hostScan(t, bin, e, "who-can-exec", "--from", "host", "--images", "host", "--json", "inside")
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, bytes.ReplaceAll(raw, []byte("/usr/bin/wget"), []byte("/usr/bin/kept")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := ask(); !strings.Contains(out, "/usr/bin/kept") {
		t.Errorf("the image was read again: %s", out)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("["), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := ask(); !strings.Contains(out, "/usr/bin/wget") {
		t.Errorf("what is broken is believed: %s", out)
	}
}

// TestImagesOfContainerd looks into images of a real containerd, for manifests, by their
// names and digests.
func TestImagesOfContainerd(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	bin, e := program.New(t), docker.New(t, docker.Options{}) // its containerd is one that a scan of the host finds
	img := engineImage(t)
	img.Name, img.Compression = "sallyport.test/inside:1", images.Zstd
	files, digests := images.OCI(img)
	archive := filepath.Join(t.TempDir(), "i.tar")
	if err := os.WriteFile(archive, files.Tar(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := docker.Output(importImage(t.Context(), e, archive)); err != nil {
		t.Fatal(out, err)
	}
	manifest := filepath.Join(t.TempDir(), "app.yaml")
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: \"" + img.Name + "\"}, {name: b, image: \"sallyport.test/other@" + digests[0] + "\"}]}\n"
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := hostScan(t, bin, e, "--from", "host", "--from", manifest, "--images", "host", "--format", "json", "--fail-on", "never")
	want := map[string]inventory.Match{"a": inventory.ByName, "b": inventory.ByDigest}
	for line := range strings.Lines(out) {
		var v struct{ Gets *gain.Container }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		if v.Gets == nil || !strings.HasPrefix(v.Gets.Subject, "pod ") {
			continue
		}
		in := wantInside(img)
		in.By = want[v.Gets.Container]
		if d := cmp.Diff(in, v.Gets.Inside); d != "" {
			t.Errorf("%s (-want +got):\n%s", v.Gets.Container, d)
		}
		delete(want, v.Gets.Container)
	}
	if len(want) > 0 {
		t.Errorf("nothing of %v:\n%s", want, out)
	}
}

// importImage gives an archive to an engine's containerd, as the kubelet's pulls would.
func importImage(ctx context.Context, e *docker.Engine, archive string) *exec.Cmd {
	return e.Ctr(ctx, "-n", "k8s.io", "images", "import", "--no-unpack", archive)
}

// TestNoEngine has neither Docker nor containerd to ask.
func TestNoEngine(t *testing.T) {
	for _, p := range []string{"/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"} {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Skip(p + " is there")
		}
	}
	manifest := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.WriteFile(manifest, []byte(twoPods), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, errs := runScan(t, exit.Incomplete, "collect", "--from", manifest, "--images", "host", "--require-coverage", "-o", "-"); !strings.Contains(errs, "neither Docker nor containerd answers") {
		t.Error(errs)
	}
}
