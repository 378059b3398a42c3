package up

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestUpFindsByThePack runs up with the shipped rules beside a real engine: what
// of the host a container is given, who only reads along, what was prepared long
// before, and that a daemon is no longer heard.
func TestUpFindsByThePack(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	p := up.Print(t, bin, state, e, "--client-requests", "always", "--rules", impatientPack(t, bin))
	up.Await(t, state, "kernel", "docker", "containerd")
	await := func(rule string, about func(finding.Finding) bool) finding.Finding {
		t.Helper()
		var found finding.Finding
		testbed.Eventually(t, 60*time.Second, rule, func() bool {
			for line := range strings.Lines(program.Run(t, bin, "findings", "--state", state, "--json")) {
				var f finding.Finding
				if err := json.Unmarshal([]byte(line), &f); err != nil {
					t.Fatal(err)
				}
				if f.Rule == rule && about(f) {
					found = f
					return true
				}
			}
			return false
		})
		return found
	}
	of := func(id string) func(finding.Finding) bool {
		return func(f finding.Finding) bool { return f.Target != nil && string(f.Target.ContainerID) == id }
	}

	plain := e.RunT(t, "--name", "plain", docker.Image, "/bin/sleep", "1000")
	tool := e.RunT(t, "--name", "tool", "--pid", "host", "-v", "/etc:/e:ro", docker.Image, "/bin/sleep", "1000")
	made := await("R11-host-in-container", of(tool))
	if shown := program.Run(t, bin, "show", string(made.Session), "--state", state); !strings.Contains(shown, "namespaces pid, paths /etc") {
		t.Errorf("show printed %s", shown)
	}
	e.ExecT(t, 4321, "tool", "/bin/busybox", "true")
	if f := await("R11-first-action", of(tool)); len(f.Related) != 1 || f.Related[0] != made.Session {
		t.Errorf("%+v is not about what the container was made by", f)
	}

	attach := e.CLI(t.Context(), "attach", "--no-stdin", "plain")
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	await("R16-attach-output", of(plain))
	_ = attach.Process.Kill()
	_ = attach.Wait()

	prepared := newExec(t, e, plain)
	time.Sleep(3 * time.Second)
	postT(t, e, "/exec/"+prepared+"/start", `{"Detach":true}`)
	await("R15-delayed", of(plain))

	if err := e.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for those that remove what they started
		if err := e.Boot(context.Background()); err != nil {
			t.Error(err)
		}
	})
	blind := await("R21-witness-down", func(f finding.Finding) bool { return f.Target != nil && f.Target.Object == "witness docker" })
	if !strings.HasPrefix(blind.Message, "docker has seen nothing since ") || blind.Session != "" {
		t.Errorf("%+v", blind)
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up: %v\n%s", err, p.Stderr.String())
	}
	for line := range strings.Lines(program.Run(t, bin, "findings", "--state", state, "--json")) {
		if strings.Contains(line, plain) && strings.Contains(line, `"R11-`) {
			t.Errorf("of a plain container: %s", line)
		}
	}
	if out := program.Run(t, bin, "verify", "--state", state); !strings.Contains(out, "Proven") {
		t.Errorf("verify printed %s", out)
	}
}

// impatientPack is the shipped pack with shorter times.
func impatientPack(t *testing.T, bin string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rules")
	program.Run(t, bin, "rules", "copy", dir)
	file := filepath.Join(dir, "lists.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	short := strings.NewReplacer("blind_after: 5m", "blind_after: 1s", "exec_waits: 30s", "exec_waits: 2s").Replace(string(text))
	if err := os.WriteFile(file, []byte(short), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newExec creates an exec by the bare API and returns its id.
func newExec(t *testing.T, e *docker.Engine, container string) string {
	t.Helper()
	var made struct{ ID string }
	body := postT(t, e, "/containers/"+container+"/exec", `{"Cmd":["/bin/busybox","true"]}`)
	if err := json.Unmarshal(body, &made); err != nil || made.ID == "" {
		t.Fatalf("create exec: %s, %v", body, err)
	}
	return made.ID
}

func postT(t *testing.T, e *docker.Engine, path, body string) []byte {
	t.Helper()
	client := e.HTTPClient()
	defer client.CloseIdleConnections()
	res, err := client.Post("http://docker/v1.41"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s: %s %q %v", path, res.Status, b, err)
	}
	return b
}
