package scan

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/testbed/images"
)

// execute runs "sallyport scan ARGS" and returns its exit status.
func execute(ctx context.Context, env *terminal.Env, args []string) int {
	cmd, began := New(env), false
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	return exit.Report(env.Stderr, err, began)
}

// runScan runs "sallyport scan ARGS" and returns what it wrote.
func runScan(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := &terminal.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: os.Getenv}
	if got := execute(t.Context(), env, args); got != want {
		t.Errorf("scan %q: exit status %d, want %d\n%s%s", args, got, want, out.Bytes(), errs.Bytes())
	}
	return out.String(), errs.String()
}

const twoPods = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  automountServiceAccountToken: false
  containers: [{name: app, image: shop.test/web:1}, {name: side, image: elsewhere:2}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop}
spec:
  containers:
  - {name: app, image: shop.test/bare:1, securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, seccompProfile: {type: RuntimeDefault}}}
`

// TestImagesOfManifests looks into images of archives and layouts for the containers of
// manifests, and into a snapshot for the same.
func TestImagesOfManifests(t *testing.T) {
	dir := t.TempDir()
	web := &images.Image{Name: "shop.test/web:1", Layers: [][]byte{images.Layer(
		images.File{Name: "bin/sh"}, images.File{Name: "usr/bin/curl"}, images.File{Name: "usr/bin/kubectl"}, images.File{Name: "usr/bin/sudo", Mode: 0o4755})}}
	bare := &images.Image{Name: "shop.test/bare:1", User: "app", Layers: [][]byte{images.Layer(
		images.File{Name: "server"}, images.File{Name: "etc/passwd", Mode: 0o644, Body: "app:x:1001:1001::/:\n"})}}
	manifests, archive, layout, kept := filepath.Join(dir, "app.yaml"), filepath.Join(dir, "web.tar"), filepath.Join(dir, "layout"), filepath.Join(dir, "x.scan")
	files, _ := images.OCI(bare)
	for _, err := range []error{os.WriteFile(manifests, []byte(twoPods), 0o600), os.WriteFile(archive, images.Saved(web).Tar(), 0o600), files.Write(layout)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	looked := []string{"--from", manifests, "--images", archive, "--images", layout}
	out, errs := runScan(t, exit.Fine, append([]string{"who-can-exec", "-n", "shop", "web"}, looked...)...)
	for _, want := range []string{
		"app        root     shell    uid 0; default capabilities; writable root file system; sh, kubectl, curl (by the image's name); unknown: seccomp\n",
		"side       unknown  unknown  writable root file system; unknown: user, capabilities, seccomp, inside\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.Contains(errs, "Not read: images of elsewhere:2: no source of --images has it") {
		t.Error(errs)
	}
	out, _ = runScan(t, exit.Fine, append([]string{"who-can-exec", "-n", "shop", "bare"}, looked...)...)
	if want := "app        user   none   uid 1001; no capabilities; no new privileges; seccomp RuntimeDefault; read-only root file system; nothing known by its name (by the image's name); unknown: token\n"; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}

	live, _ := runScan(t, exit.Fine, append([]string{"--format", "json"}, looked...)...)
	for _, want := range []string{`"rule":"SP-IMG-001"`, `"rule":"SP-IMG-002"`, `"rule":"SP-IMG-003"`, `"image":"shop.test/web:1"`} {
		if !strings.Contains(live, want) {
			t.Errorf("no %s in\n%s", want, live)
		}
	}
	if strings.Contains(live, `image shop.test/bare`) {
		t.Errorf("a bare image has a finding:\n%s", live)
	}
	runScan(t, exit.Fine, append([]string{"collect", "-o", kept}, looked...)...)
	if again, _ := runScan(t, exit.Fine, "--from", kept, "--format", "json"); again != live {
		t.Errorf("the snapshot says\n%s\nand the sources\n%s", again, live)
	}
	runScan(t, exit.Fine, append([]string{"collect", "--redact", "-o", kept}, looked...)...)
	if again, _ := runScan(t, exit.Fine, "--from", kept, "--format", "json"); strings.Contains(again, "shop.test") || strings.Contains(again, "curl") || strings.Contains(again, web.ID()) {
		t.Errorf("something is left of images:\n%s", again)
	}
}

func TestImagesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	manifests, archive := filepath.Join(dir, "app.yaml"), filepath.Join(dir, "x.tar")
	good, bad := &images.Image{Name: "shop.test/web:1", Layers: [][]byte{images.Layer()}}, &images.Image{Name: "shop.test/bare:1", OS: "windows"}
	files, _ := images.OCI(bad, good)
	for _, err := range []error{os.WriteFile(manifests, []byte(twoPods), 0o600), os.WriteFile(archive, files.Tar(), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[string]string{"nowhere": "no such file", manifests: "no tar", dir: "has no index.json"} {
		if _, errs := runScan(t, exit.Usage, "--from", manifests, "--images", from); !strings.Contains(errs, want) || !strings.Contains(errs, "--images") {
			t.Errorf("%s: %s", from, errs)
		}
	}
	out, errs := runScan(t, exit.Incomplete, "--from", manifests, "--images", archive, "--require-coverage", "--format", "json", "--fail-on", "never")
	if !strings.Contains(errs, "only those for Linux are understood") || !strings.Contains(out, `"container":"app","image":"shop.test/web:1","pods":1,"at":{"source":"`+manifests+`","line":1},"power":"root","tools":"none"`) {
		t.Errorf("%s\n%s", errs, out)
	}
}
