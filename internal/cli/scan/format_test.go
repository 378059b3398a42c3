package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/scan/report"
	"github.com/sallyport/sallyport/internal/scan/report/reporttest"
)

var goldenReports = flag.Bool("reports", false, "write testdata/report instead of comparing with it")

// inFormat writes a report in a format, without what differs from build to build.
func inFormat(t *testing.T, name string, r *report.Result) []byte {
	t.Helper()
	var out bytes.Buffer
	env := &terminal.Env{Stdout: &out, Stderr: io.Discard, Getenv: func(string) string { return "" }}
	var err error
	if name == formatOCSF {
		err = writeOCSF(&out, export.Origin{Host: "edge1", Version: "1.2.3"}, r)
	} else {
		n := slices.Index(formatNames(), name)
		err = reportFormats[n].write(env, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte(build.This().Version), []byte("1.2.3"))
}

// TestReports holds every format to a golden file.
func TestReports(t *testing.T) {
	for _, name := range formatNames() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "report", "report."+name)
			got := inFormat(t, name, reporttest.Result(t, reporttest.Inventory()))
			if *goldenReports {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; run: go test -run TestReports . -args -reports", err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("run: go test -run TestReports . -args -reports\n%s", d)
			}
		})
	}
}

// TestOCSFIsValid holds every line to the schema of OCSF 1.8.0, and the statuses to how
// the checks ended.
func TestOCSFIsValid(t *testing.T) {
	schema := exporttest.Schema(t, "../../export/ocsf/testdata/ocsf.schema.json")
	r := reporttest.Result(t, reporttest.Inventory())
	got := map[string]int{}
	uids := map[any]bool{}
	for line := range bytes.Lines(inFormat(t, formatOCSF, r)) {
		doc, err := exporttest.Check(schema, line)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		e := doc.(map[string]any)
		got[fmt.Sprint(e["compliance"].(map[string]any)["status"], " ", e["status"])]++
		uid := e["metadata"].(map[string]any)["uid"]
		if uids[uid] {
			t.Errorf("two checks have the uid %v", uid)
		}
		uids[uid] = true
	}
	want := map[string]int{"Fail Suppressed": 1, "Fail New": len(r.Found) - 1}
	for _, o := range r.Endings() {
		switch o.Result {
		case checks.Passed:
			want["Pass <nil>"]++
		case checks.Unknown:
			want["Warning <nil>"]++
		case checks.Failed:
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// full is a writer whose disk is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestScanExitStatuses holds the statuses that docs/guide/scan.md promises.
func TestScanExitStatuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	bad := file("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: x}]}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: ops}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: User, name: root, apiGroup: rbac.authorization.k8s.io}]\n")
	fine := file("fine.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	empty := file("empty.yaml", "# Source: shop/templates/notes.txt\n---\n")
	broken := file("broken.yaml", "kind: {{ .Values.x }}\n")
	kubelet := file("kubelet.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {x509: {clientCAFile: /ca}, anonymous: {enabled: false}}\nauthorization: {mode: Webhook}\nreadOnlyPort: 0\n")
	soon := time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)
	waivers := file("waivers.yaml", "version: 1\nwaivers:\n  - {rule: SP-K8S-001, object: ClusterRoleBinding ops, owner: ann, reason: so, expires: "+soon+"}\n")
	late := file("late.yaml", "version: 1\nwaivers:\n  - {rule: SP-K8S-001, object: ClusterRoleBinding ops, owner: ann, reason: so, expires: 2020-01-01}\n")
	var report bytes.Buffer
	run := func(stdout io.Writer, args ...string) int {
		env := &terminal.Env{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: io.Discard, Getenv: func(string) string { return "" }}
		return execute(context.Background(), env, args)
	}
	if got := run(&report, "--from", bad, "--format", "json"); got != exit.Findings {
		t.Fatalf("%d", got)
	}
	before := file("before.json", report.String())
	for _, c := range []struct {
		want int
		args []string
	}{
		{exit.Fine, []string{"--from", fine}},
		{exit.Fine, []string{"--from", fine, "--require-coverage"}},
		{exit.Findings, []string{"--from", bad}},
		{exit.Findings, []string{"--from", bad, "--fail-on", "critical"}},
		{exit.Fine, []string{"--from", bad, "--fail-on", "never"}},
		{exit.Findings, []string{"--from", bad, "--from", broken, "--require-coverage"}},
		{exit.Incomplete, []string{"--from", fine, "--from", broken, "--require-coverage"}},
		{exit.Fine, []string{"--from", fine, "--from", broken}},
		{exit.Incomplete, []string{"--from", fine, "--from", empty, "--require-coverage"}},
		{exit.Incomplete, []string{"--from", "-", "--require-coverage"}}, // of nothing
		{exit.Fine, []string{"--from", empty}},
		{exit.Incomplete, []string{"--from", fine, "--from", kubelet, "--require-coverage"}},
		{exit.Fine, []string{"--from", fine, "--from", kubelet}},
		{exit.Fine, []string{"--from", bad, "--waivers", waivers}},
		{exit.Fine, []string{"--from", bad, "--waivers", waivers, "--fail-on", "low"}},
		{exit.Findings, []string{"--from", bad, "--waivers", late}},
		{exit.Fine, []string{"--from", fine, "--waivers", waivers, "--fail-on", "low"}}, // it waives nothing: info
		{exit.Findings, []string{"--from", fine, "--waivers", waivers, "--fail-on", "info"}},
		{exit.Fine, []string{"--from", bad, "--baseline", before}},
		{exit.Findings, []string{"--from", bad, "--baseline", before, "--waivers", late, "--fail-on", "low"}},
		{exit.Usage, []string{"--from", filepath.Join(dir, "none.yaml")}},
		{exit.Usage, []string{"--from", bad, "--format", "xml"}},
		{exit.Usage, []string{"--from", bad, "--fail-on", "bad"}},
		{exit.Usage, []string{"--from", bad, "--waivers", bad}},
		{exit.Usage, []string{"--from", bad, "--waivers", filepath.Join(dir, "none")}},
		{exit.Usage, []string{"--from", bad, "--baseline", bad}},
		{exit.Usage, []string{"--from", bad, "--baseline", filepath.Join(dir, "none")}},
		{exit.Usage, []string{"--no-such-flag"}},
		{exit.Usage, []string{"explain", "SP-NO-001"}},
		{exit.Usage, []string{"explain", "--from", bad, "aaaaaaaaaaaaaaaa"}},
		{exit.Fine, []string{"explain", "SP-K8S-001"}},
		{exit.Fine, []string{"explain", "--from", bad, string(finding.NewID("SP-K8S-001", "ClusterRoleBinding ops"))}},
	} {
		for _, format := range formatNames() {
			args := c.args
			if !slices.Contains(args, "--format") && args[0] == "--from" {
				args = append(slices.Clone(args), "--format", format)
			}
			if got := run(io.Discard, args...); got != c.want {
				t.Errorf("%q: %d, want %d", args, got, c.want)
			}
		}
	}
	for _, format := range formatNames() { // a report that was not written is no report with findings
		if got := run(full{}, "--from", bad, "--format", format); got != exit.Usage {
			t.Errorf("%s to a full disk: %d", format, got)
		}
	}
}

// TestAnyNameInOCSF: whatever objects are called, each line can be read back.
func TestAnyNameInOCSF(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := reporttest.AnyName().Draw(rt, "name")
		for line := range bytes.Lines(inFormat(t, formatOCSF, reporttest.Named(name))) {
			var v map[string]any
			if err := json.Unmarshal(line, &v); err != nil {
				rt.Fatal(err)
			}
		}
	})
}
