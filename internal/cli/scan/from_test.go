package scan

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
)

// TestSourcesOf: without --from it is the cluster where kubectl knows one, be it badly,
// and else this host, which is said.
func TestSourcesOf(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"+
		"clusters: [{name: c, cluster: {server: https://192.0.2.1}}]\nusers: [{name: u, user: {}}]\n")
	for _, tt := range []struct {
		name, env string
		sources   sources
		want      []string
	}{
		{"a kubeconfig", good, sources{}, []string{"cluster"}},
		{"a broken one", file("broken", "clusters: 7\n"), sources{}, []string{"cluster"}},
		{"none", filepath.Join(dir, "none"), sources{}, []string{"host"}},
		{"none, and one is named", filepath.Join(dir, "none"), sources{kubeconfig: "x"}, []string{"cluster"}},
		{"none, and a context is named", filepath.Join(dir, "none"), sources{context: "x"}, []string{"cluster"}},
		{"what is said counts", good, sources{from: []string{"host", "a.yaml"}}, []string{"host", "a.yaml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tt.env)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			var out bytes.Buffer
			got := sourcesOf((&terminal.Env{Stderr: &out}), &tt.sources)
			if !slices.Equal(got, tt.want) || strings.Contains(out.String(), "this host") != (len(tt.sources.from) == 0 && tt.want[0] == "host") {
				t.Errorf("%v, said %q", got, out.String())
			}
		})
	}
}

// TestInterrupted: an input that says nothing is left when somebody has waited enough.
func TestInterrupted(t *testing.T) {
	silent, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	env := &terminal.Env{Stdin: silent, Stdout: io.Discard, Stderr: &errs, Getenv: func(string) string { return "" }}
	if code := execute(ctx, env, []string{"--from", "-"}); code != exit.Usage || !strings.Contains(errs.String(), "--from -: interrupted") {
		t.Errorf("status %d, said %q", code, errs.String())
	}
}

// TestReachOfWhatWasRead: what could not be read is no answer about anybody.
func TestReachOfWhatWasRead(t *testing.T) {
	var snapshot bytes.Buffer
	cluster := &inventory.Cluster{Pods: []inventory.Pod{{Object: inventory.Object{Namespace: "shop", Name: "web"}}}}
	if err := scan.Write(&snapshot, &inventory.Inventory{
		Cluster: cluster, Unread: []inventory.Unread{{What: inventory.PartClusterBindings, From: "prod", Why: "forbidden"}},
	}, "test", nil); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	env := &terminal.Env{Stdin: &snapshot, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	if code := execute(t.Context(), env, []string{"reach", "--from", "-", "user:ann"}); code != exit.Fine ||
		!strings.Contains(out.String(), "in 0 namespaces, as far as was read.") || !strings.Contains(errs.String(), "No binding that could be read names user:ann") {
		t.Errorf("status %d\n%s%s", code, out.String(), errs.String())
	}
}
