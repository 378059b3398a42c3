package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// The rules of the fault test are in two files that change together. Of the two one
// denies touch; who sees one file of each kind may see none that does.
const (
	faultDenies = `version: 1
rules:
  - id: deny-%s
    when: session.kind in ["exec", "start"] && session.argv.exists(a, a == "touch")
    effect: deny
    severity: high
`
	faultTapes = `version: 1
rules:
  - id: tape-%s
    when: session.kind in ["exec", "attach", "copy"] && session.channel.startsWith("DK-")
    effect: record
`
	// faultCopies allows what nobody can look into.
	faultCopies = `version: 1
default: allow
rules:
  - {id: copies, when: 'session.channel == "DK-ARCHIVE"', effect: allow}
`
	// faultFiller makes it long between reading the first and reading the last.
	faultFiller = `version: 1
rules:
  - {id: filler-%d, when: 'session.argv.exists(a, a == "none-%d")', effect: deny, severity: low}
`
)

// faults is a guard to which bad things happen while clients are at work.
type faults struct {
	t           *testing.T
	e           *docker.Engine
	bin         string
	dir         string // of all that follows
	oracle      string // a directory that containers write into: what ran
	records     string
	rules       string // a symbolic link to the directory of rules
	web         string
	n           atomic.Int64
	kills, hups int

	mu     sync.Mutex
	guard  *guardProcess   // guarded by mu
	guards []*guardProcess // guarded by mu; all that were
	ran    []faultRun      // guarded by mu; what clients saw
}

// faultRun is what a client saw of a command.
type faultRun struct {
	n      int64
	kind   string // exec, run, cp, touch
	stdout []byte
	stderr string
	err    error
	took   time.Duration
}

func newFaults(t *testing.T) *faults {
	t.Helper()
	f := &faults{t: t, e: docker.New(t, docker.Options{}), bin: program.New(t), dir: t.TempDir()}
	f.oracle, f.records, f.rules = filepath.Join(f.dir, "ran"), filepath.Join(f.dir, "records"), filepath.Join(f.dir, "rules")
	if err := os.Mkdir(f.oracle, 0o777); err != nil {
		t.Fatal(err)
	}
	f.policy(0)
	f.web = f.e.RunT(t, "--name", "web", "-v", f.oracle+":/ran", docker.Image)
	f.start()
	return f
}

// start starts the guard.
func (f *faults) start() {
	f.t.Helper()
	p := startGuard(f.t, f.bin, f.e, f.rules, "--enforce", "--json", "--record", f.records)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guard = p
	f.guards = append(f.guards, p)
}

func (f *faults) current() *guardProcess {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.guard
}

// policy puts both files of a generation in the place of those before, in one step.
func (f *faults) policy(generation int) {
	f.t.Helper()
	dir := filepath.Join(f.dir, fmt.Sprintf("rules-%d", generation))
	first, last := faultDenies, faultTapes
	if generation%2 == 1 {
		first, last = last, first
	}
	files := map[string]string{"a.yaml": fmt.Sprintf(first, "a"), "z.yaml": fmt.Sprintf(last, "z"), "copies.yaml": faultCopies}
	for i := range 50 {
		files[fmt.Sprintf("m%d.yaml", i)] = fmt.Sprintf(faultFiller, i, i)
	}
	err := os.Mkdir(dir, 0o700)
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
	}
	if err == nil {
		err = os.Symlink(dir, f.rules+".new")
	}
	if err == nil {
		err = os.Rename(f.rules+".new", f.rules)
	}
	if err == nil && generation > 0 {
		err = os.RemoveAll(filepath.Join(f.dir, fmt.Sprintf("rules-%d", generation-1)))
	}
	if err != nil {
		f.t.Error(err)
	}
}

// client runs a command line through the guard, whatever becomes of it.
func (f *faults) client(kind string, args ...string) {
	n := f.n.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), faultPatience)
	defer cancel()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "NNN", fmt.Sprintf("%s-%d", kind, n))
	}
	cmd := f.e.CLI(ctx, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+f.current().socket)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ran = append(f.ran, faultRun{n, kind, stdout.Bytes(), stderr.String(), err, time.Since(began)})
}

// faultPatience is how long a client is waited for: longer than dockerd needs to
// come back.
const faultPatience = 40 * time.Second

// faultScript leaves a mark that it ran and talks for a while.
const faultScript = `: >/ran/NNN; i=0; while [ $i -lt 20 ]; do echo line NNN $i of a long text; i=$((i+1)); sleep 0.01; done; echo end NNN`

// work makes traffic until ctx ends.
func (f *faults) work(ctx context.Context) {
	var all sync.WaitGroup
	for _, do := range []func(){
		func() { f.client("exec", "exec", "web", "sh", "-c", faultScript) },
		func() { f.client("run", "run", "--rm", "-v", f.oracle+":/ran", docker.Image, "sh", "-c", faultScript) },
		func() { f.client("touch", "exec", "web", "touch", "/ran/NNN") },
		func() { f.client("cp", "cp", filepath.Join(f.dir, "copied"), "web:/ran/NNN") },
	} {
		all.Go(func() {
			for ctx.Err() == nil {
				do()
			}
		})
	}
	all.Wait()
}

// harm kills and changes for a while what the traffic depends on.
func (f *faults) harm(d time.Duration, random *rand.Rand) {
	end := time.Now().Add(d)
	daemonAt := time.Now().Add(d / 3)
	guardAt := time.Now().Add(time.Second)
	for generation := 1; time.Now().Before(end); generation++ {
		f.policy(generation)
		_ = f.current().cmd.Process.Signal(syscall.SIGHUP)
		f.hups++
		time.Sleep(time.Duration(random.IntN(120)) * time.Millisecond)
		switch now := time.Now(); {
		case now.After(daemonAt):
			if err := f.e.Kill(); err != nil {
				f.t.Error(err)
			}
			time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
			if err := f.e.Boot(f.t.Context()); err != nil {
				f.t.Fatal(err)
			}
			daemonAt = end // once is enough: it takes seconds
		case now.After(guardAt):
			if err := f.current().end(syscall.SIGKILL); err == nil {
				f.t.Error("the guard ended in order")
			}
			f.kills++
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			f.start()
			guardAt = time.Now().Add(time.Duration(1000+random.IntN(2500)) * time.Millisecond)
		}
	}
}

// decided returns what all guards said that they decided.
func (f *faults) decided() (all []guard.Record) {
	for _, g := range f.guards {
		for line := range strings.Lines(g.said()) {
			if !strings.HasPrefix(line, "{") {
				continue
			}
			var r guard.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				f.t.Errorf("%v: %s", err, line)
				continue
			}
			all = append(all, r)
		}
	}
	return all
}

// TestGuardFaults: while the guard and the daemon are killed and rules change,
// nothing runs that was not judged, what clients saw is recorded and proven, and no
// client is left without an answer.
func TestGuardFaults(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	f := newFaults(t)
	if err := os.WriteFile(filepath.Join(f.dir, "copied"), []byte("copied\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); f.work(ctx) }()
	f.harm(20*time.Second, rand.New(rand.NewPCG(seed, 0)))
	stop()
	<-done
	if out, err := f.current().docker(t, f.e, 0, "exec", "web", "echo", "after all"); err != nil || out != "after all\n" {
		t.Errorf("%v %s", err, out)
	}
	if err := f.current().end(syscall.SIGTERM); err != nil {
		t.Errorf("%v", err)
	}
	decided := f.decided()
	t.Logf("seed %d: %d clients, %d decisions, the guard killed %d times, rules changed %d times", seed, len(f.ran), len(decided), f.kills, f.hups)
	f.judged(decided)
	f.answered()
	f.recorded(decided)
	out, err := exec.Command(f.bin, "verify", "--state", f.records).CombinedOutput()
	if err != nil {
		t.Errorf("%v %s", err, out)
	}
	t.Logf("%s", out)
}

// judged: each mark of a command that ran has a decision that allowed it, and what
// is denied by either generation of the rules never ran.
func (f *faults) judged(decided []guard.Record) {
	started, copies, denied := map[string]bool{}, 0, 0
	for i := range decided {
		r := &decided[i]
		touches := slices.Contains(r.Request.Argv, "touch")
		if touches && !r.Stopped {
			f.t.Errorf("allowed: %v by %+v", r.Request.Argv, r.Decision)
		}
		switch {
		case touches:
			denied++
		case r.Stopped || r.Decision.Effect != effect.Allow:
			f.t.Errorf("refused: %s %v by %q: %s", r.Request.Channel, r.Request.Argv, r.Decision.Rule, r.Decision.Message)
		case r.Request.Kind == session.KindCopy && r.Request.Direction == "in":
			copies++
		case r.Request.ExecID != "" || r.Request.Kind == session.KindStart && r.Request.Target.ContainerID != "":
			started[faultMark(r.Request.Argv)] = true
		}
	}
	marks, err := os.ReadDir(f.oracle)
	if err != nil {
		f.t.Fatal(err)
	}
	ran := map[string]int{}
	for _, m := range marks {
		kind, _, _ := strings.Cut(m.Name(), "-")
		ran[kind]++
		if (kind == "exec" || kind == "run") && !started[m.Name()] {
			f.t.Errorf("%s ran unjudged", m.Name())
		}
	}
	f.t.Logf("ran: %v; %d copies allowed, touch denied %d times", ran, copies, denied)
	if ran["touch"] > 0 || ran["cp"] > copies || denied == 0 || ran["exec"] == 0 || ran["run"] == 0 || ran["cp"] == 0 {
		f.t.Errorf("it ran: %v; %d copies allowed, touch denied %d times", ran, copies, denied)
	}
}

// faultMark is the mark that a command makes.
func faultMark(argv []string) string {
	_, rest, _ := strings.Cut(strings.Join(argv, " "), "/ran/")
	mark, _, _ := strings.Cut(rest, ";")
	return mark
}

// answered: each client came to an end by itself, one that went well saw all of it,
// and one that did not was told why.
func (f *faults) answered() {
	why := map[string]int{}
	for _, r := range f.ran {
		switch {
		case r.took >= faultPatience:
			f.t.Errorf("%s-%d hung", r.kind, r.n)
		case r.err == nil && r.kind == "touch":
			f.t.Errorf("touch went well: %+v", r)
		case r.err == nil && r.kind != "cp" && !bytes.HasSuffix(r.stdout, fmt.Appendf(nil, "end %s-%d\n", r.kind, r.n)):
			f.t.Errorf("%s-%d went well and saw %q", r.kind, r.n, r.stdout)
		case r.err == nil:
			why["went well"]++
		case r.kind == "exec" && r.stderr == "" && r.err.Error() == "exit status 255":
			// docker exec's own way to say that nobody answers how it ended.
			why["exit status 255"]++
		default:
			if strings.TrimSpace(r.stderr) == "" {
				f.t.Errorf("%s-%d: %v without a word; it saw %q", r.kind, r.n, r.err, r.stdout)
			}
			why[faultWhy(r.stderr)]++
		}
	}
	for text, n := range why {
		f.t.Logf("%d clients: %s", n, text)
	}
}

// faultWhy is the reason without what differs each time.
func faultWhy(stderr string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	for _, cut := range []string{" (request", "http://", "unix://"} {
		line, _, _ = strings.Cut(line, cut)
	}
	return line
}

// recorded: what clients saw is in a recording of just that command.
func (f *faults) recorded(decided []guard.Record) {
	containers := map[event.ContainerID]string{}
	for i := range decided {
		if s := &decided[i].Request; s.Kind == session.KindStart && s.Target.ContainerID != "" {
			containers[s.Target.ContainerID] = faultMark(s.Argv)
		}
	}
	taped := map[string][]byte{}
	ids, err := recording.IDs(recording.DirIn(f.records))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, id := range ids {
		h, out := f.tape(id)
		var argv []string
		for _, a := range h.Argv {
			argv = append(argv, string(a))
		}
		mark := faultMark(argv)
		if h.Kind == session.KindAttach {
			mark = containers[h.Target.ContainerID]
		}
		taped[mark] = out
	}
	bytesSeen, compared := 0, 0
	for _, r := range f.ran {
		if r.kind == "exec" || r.kind == "run" {
			if out := taped[fmt.Sprintf("%s-%d", r.kind, r.n)]; !bytes.HasPrefix(out, r.stdout) {
				f.t.Errorf("%s-%d: %d bytes seen, %d recorded", r.kind, r.n, len(r.stdout), len(out))
			}
			compared, bytesSeen = compared+1, bytesSeen+len(r.stdout)
		}
	}
	f.t.Logf("%d recordings hold what %d clients saw, %d bytes", len(ids), compared, bytesSeen)
}

// tape returns what is recorded, as far as it goes.
func (f *faults) tape(id string) (recording.Header, []byte) {
	r, err := recording.OpenFile(recording.DirIn(f.records), id)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	var out []byte
	for frame := range r.Frames() {
		if frame.Stream == recording.Stdout {
			out = append(out, frame.Data...)
		}
	}
	return r.Header, out
}
