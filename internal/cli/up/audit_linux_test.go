package up

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/internal/watch"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// auditBed is an API server whose log is small, and the program that reads it.
type auditBed struct {
	*kube.Cluster
	t      *testing.T
	client *http.Client
	bin    string
	state  string
	asked  map[string]time.Time // what was asked, by its word: when
}

func newAuditBed(t *testing.T) *auditBed {
	testbed.Require(t, testbed.Root, testbed.Kube)
	b := &auditBed{t: t, bin: program.New(t), state: filepath.Join(t.TempDir(), "state"), asked: map[string]time.Time{}}
	b.Cluster = kube.New(t, kube.Options{
		AuditPolicy: string(audit.MinimalPolicy), APIServer: []string{"--audit-log-maxsize=1", "--audit-log-maxbackup=10"},
	})
	var err error
	if b.client, err = b.HTTPClient(b.Admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

func (b *auditBed) up() *up.Printing {
	p := up.Print(b.t, b.bin, b.state, &docker.Engine{Address: "unix:///nonexistent.sock"}, "--audit-log", b.Audit)
	up.Await(b.t, b.state, "audit")
	return p
}

// ask asks for n commands in a pod that does not exist. Each takes some 300 KB of
// the log, in three entries.
func (b *auditBed) ask(prefix string, n int) {
	b.t.Helper()
	for i := range n {
		word := fmt.Sprintf("%s%d", prefix, i)
		r, err := b.client.Get(b.Server + "/api/v1/namespaces/default/pods/none/exec?stdout=1&command=echo&command=" + word + "&padding=" + strings.Repeat("x", 100<<10))
		if err != nil {
			b.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		b.asked[word] = time.Now()
	}
}

// files returns the log's files, the log itself last.
func (b *auditBed) files() []string {
	old, err := filepath.Glob(strings.TrimSuffix(b.Audit, ".log") + "-*.log")
	if err != nil {
		b.t.Fatal(err)
	}
	return append(old, b.Audit)
}

func (b *auditBed) gaps() uint64 {
	_, body := up.Ask(b.state, "/status")
	var s watch.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		b.t.Fatal(err)
	}
	return s.Counters["audit_gaps"]
}

// TestAuditLogRotatedMeanwhile: while up is down, killed or in order, the API
// server rotates its log twice and more. All that it kept becomes sessions;
// where it had to throw away what nobody had read, that is stated as a gap, and
// it reaches over all that is missing.
func TestAuditLogRotatedMeanwhile(t *testing.T) {
	t.Parallel()
	b := newAuditBed(t)
	p := b.up()
	b.ask("before", 5)
	testbed.Eventually(t, 30*time.Second, "what is asked is known", func() bool { return len(p.Echoed()) == 5 })

	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.End(how)
		was := len(b.files())
		b.ask(how.String(), 12)
		if n := len(b.files()) - was; n < 2 {
			t.Fatalf("the log was rotated %d times, want 2", n)
		}
		p = b.up()
		testbed.Eventually(t, 30*time.Second, "what the API server kept is known", func() bool {
			known := p.Echoed()
			for w := range b.asked {
				if strings.HasPrefix(w, how.String()) && !known[w] {
					return false
				}
			}
			return true
		})
		if n := b.gaps(); n != 0 {
			t.Errorf("%v: %d gaps, and nothing was lost: %s", how, n, &p.Stderr)
		}
	}
	b.tooMuch(p)
}

// tooMuch has the API server keep one old file and ask for more than fits.
func (b *auditBed) tooMuch(p *up.Printing) {
	t := b.t
	_ = p.End(syscall.SIGKILL)
	down := time.Now()
	if err := b.RestartAPIServer(t.Context(), func(o *kube.Options) { o.APIServer = []string{"--audit-log-maxsize=1", "--audit-log-maxbackup=1"} }); err != nil {
		t.Fatal(err)
	}
	b.ask("more", 24)
	testbed.Eventually(t, 10*time.Second, "the API server throws old files away", func() bool { return len(b.files()) == 2 })
	left := b.inFiles("more")
	p = b.up()
	testbed.Eventually(t, 30*time.Second, "what is left is known", func() bool {
		known := p.Echoed()
		return !slices.ContainsFunc(left, func(w string) bool { return !known[w] })
	})
	if n := b.gaps(); n != 1 {
		t.Errorf("%d gaps", n)
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, &p.Stderr)
	}
	if !strings.Contains(p.Stderr.String(), "audit events are missing") {
		t.Errorf("it says %s", &p.Stderr)
	}
	since, until := b.gap(down)
	known := p.Echoed()
	lost := 0
	for w, at := range b.asked {
		if strings.HasPrefix(w, "more") && !known[w] {
			if lost++; at.Before(since) || at.After(until) {
				t.Errorf("%s, of %v, is lost, and the gap is from %v to %v", w, at, since, until)
			}
		}
	}
	if lost == 0 || lost+len(left) != 24 {
		t.Errorf("%d lost, %d left of 24", lost, len(left))
	}
	t.Logf("%d of 24 lost; the gap is of %v; %s", lost, until.Sub(since).Round(time.Millisecond), &p.Stderr)
}

// inFiles returns the words of which the log's files still hold an entry.
func (b *auditBed) inFiles(prefix string) []string {
	left := map[string]bool{}
	for _, f := range b.files() {
		text, err := os.ReadFile(f)
		if err != nil {
			b.t.Fatal(err)
		}
		for w := range b.asked {
			if strings.HasPrefix(w, prefix) && strings.Contains(string(text), "command="+w+`\u0026`) {
				left[w] = true
			}
		}
	}
	return slices.Collect(maps.Keys(left))
}

// gap returns the gap that the witness of the audit stated after a time, as the
// store has it.
func (b *auditBed) gap(after time.Time) (since, until time.Time) {
	r, err := store.OpenReadOnly(b.state)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	for o, err := range r.Observations(b.t.Context(), time.Time{}, time.Time{}) {
		if err != nil {
			b.t.Fatal(err)
		}
		s, ok := o.(event.WitnessState)
		if !ok || s.Witness != event.WitnessAudit {
			continue
		}
		switch {
		case strings.Contains(s.Reason, "no longer has"):
			since = s.Time
		case s.Up && !since.IsZero() && until.IsZero() && s.From.After(after):
			until = s.From
		}
	}
	return since, until
}
