package up

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// lineReceiver takes records of jsonl+ and falco+.
type lineReceiver struct {
	*httptest.Server
	mu      sync.Mutex
	records []export.Record
	alerts  []map[string]any
}

func receiveLines(t *testing.T) *lineReceiver {
	t.Helper()
	r := &lineReceiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if req.URL.Path == "/falco" {
			var a map[string]any
			if err := json.NewDecoder(req.Body).Decode(&a); err != nil {
				t.Error(err)
			}
			r.alerts = append(r.alerts, a)
			return
		}
		in := bufio.NewReader(req.Body)
		for {
			line, err := in.ReadBytes('\n')
			if err == io.EOF {
				return
			}
			var v export.Record
			if err := json.Unmarshal(line, &v); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			r.records = append(r.records, v)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// ended counts, by argv[2], the exec sessions that came and had ended.
func (r *lineReceiver) ended() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for _, v := range r.records {
		if s := v.Session; s != nil && s.Kind == session.KindExec && s.State == session.StateEnded && len(s.Argv) > 2 {
			out[s.Argv[2]]++
		}
	}
	return out
}

// hasAll reports whether each of the findings has come as an alert.
func (r *lineReceiver) hasAll(t *testing.T, findings string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	came := map[any]bool{}
	for _, a := range r.alerts {
		came[a["output_fields"].(map[string]any)["sallyport.finding"]] = true
	}
	for line := range strings.Lines(findings) {
		var f finding.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if !came[string(f.ID)] {
			return false
		}
	}
	return true
}

// TestUpExports runs up with two receivers beside a real engine, through kill -9:
// every session and finding arrives, without the secret in its command.
func TestUpExports(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte(liveRules), 0o600); err != nil {
		t.Fatal(err)
	}
	r := receiveLines(t)
	to := "jsonl+" + r.URL + "/ falco+" + r.URL + "/falco"
	start := func() *up.Printing {
		p := up.Print(t, bin, state, e, "--client-requests", "always", "--rules", rules, "--export", to, "--export-from", "beginning")
		up.Await(t, state, "kernel", "docker", "containerd")
		return p
	}
	p := start()
	e.RunT(t, "--name", "box", docker.Image)
	for i := range 6 {
		e.ExecT(t, 4321, "box", "/bin/busybox", "echo", fmt.Sprint("n", i), "--password=hunter2")
		if i == 2 {
			// What is not stored yet when up is killed is not kept by anybody.
			testbed.Eventually(t, 30*time.Second, "what is kept", func() bool { return len(r.ended()) > 2 })
			_ = p.End(syscall.SIGKILL)
			p = start()
		}
	}
	testbed.Eventually(t, 30*time.Second, "all sessions", func() bool { return len(r.ended()) >= 6 })
	stored := program.Run(t, bin, "findings", "--state", state, "--json")
	if n := strings.Count(stored, `"container_name":"box"`); n < 3 {
		t.Errorf("%d findings about the container are stored", n)
	}
	testbed.Eventually(t, 30*time.Second, "what is stored as alerts", func() bool { return r.hasAll(t, stored) })
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up: %v\n%s", err, p.Stderr.String())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range []any{r.records, r.alerts} {
		text, err := json.Marshal(v)
		if err != nil || strings.Contains(string(text), "hunter2") || !strings.Contains(string(text), "[redacted]") {
			t.Errorf("the secret went out, or nothing did: %v, %d bytes", err, len(text))
		}
	}
}

func TestExportURLs(t *testing.T) {
	for _, good := range []string{"falco+http://127.0.0.1:2801/", "syslog+tls://[::1]:6514", "otlp+https://h/v1/logs?x=1"} {
		if _, err := config.ParseTarget(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "http://h/", "falco+", "falco+tls://h:1", "syslog+tls://h", "syslog+tls://h:1/x", "cef+http://h/", "jsonl+https://ann:pw@h/"} {
		if _, err := config.ParseTarget(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	a, _ := config.ParseTarget("jsonl+https://h/?token=a")
	b, _ := config.ParseTarget("jsonl+https://h/?token=b")
	if a.Name() == b.Name() || strings.Contains(a.Name(), "token") {
		t.Errorf("names %s, %s", a.Name(), b.Name())
	}
}
