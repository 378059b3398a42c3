package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/testbed/clusters"
	"github.com/sallyport/sallyport/testbed/cputime"
	"github.com/sallyport/sallyport/testbed/docker"
)

// scanned is a cluster whose scan is measured. cpu and memory are the targets, in seconds
// and MB; 0 for none.
type scanned struct {
	name        string
	size        clusters.Size
	cpu, memory float64

	file string
	pod  [2]string // the namespace and the name of one
}

// scans measures what it costs to say who could run a command: from snapshots of made-up
// clusters, and after one binding changed.
func (b *bench) scans(ctx context.Context) ([]row, error) {
	all := []*scanned{
		{name: "1k", size: clusters.S1k},
		{name: "10k", size: clusters.S10kx, cpu: 0.7, memory: 150},
		{name: "100k", size: clusters.S100k, cpu: 4, memory: 400},
	}
	var rows []row
	for _, s := range all {
		if err := s.write(b.dir); err != nil {
			return rows, err
		}
	}
	if err := forget(); err != nil {
		return rows, err
	}
	for _, q := range []struct {
		name string
		args func(s *scanned) []string
	}{
		{"scan", func(*scanned) []string { return []string{"--fail-on", "never"} }},
		{"scan who-can-exec", func(s *scanned) []string {
			return []string{"who-can-exec", "-n", s.pod[0], s.pod[1]}
		}},
		{"scan reach", func(*scanned) []string { return []string{"reach", "user:user-7"} }},
		{"scan cut", func(*scanned) []string { return []string{"cut"} }},
	} {
		got, err := b.question(ctx, q.name, all, q.args)
		rows = append(rows, got...)
		if err != nil {
			return rows, err
		}
	}
	for _, s := range all[1:] {
		rows = append(rows, b.changed(s))
	}
	return rows, nil
}

// forget gives back what this process used, and has the kernel forget how much that was:
// what a child had resident at the most counts from before it became another program.
func forget() error {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return fmt.Errorf("forget the peak of memory: %w", err)
	}
	return nil
}

// write makes the cluster's snapshot.
func (s *scanned) write(dir string) error {
	c := s.size.Cluster()
	p := &c.Pods[len(c.Pods)/2]
	s.pod = [2]string{p.Namespace, p.Name}
	s.file = filepath.Join(dir, s.name+".scan")
	var out bytes.Buffer
	err := scan.Write(&out, &inventory.Inventory{Cluster: c}, "bench", nil)
	return errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(s.file, out.Bytes(), 0o600))
}

// question measures one question, asked of all clusters in turn, and how its cost grows
// with the pods.
func (b *bench) question(ctx context.Context, name string, all []*scanned, args func(*scanned) []string) (rows []row, err error) {
	least := make([]cost, len(all))
	for i, s := range all {
		if least[i], err = b.least(ctx, nil, append(args(s), "--from", s.file)); err != nil {
			return rows, err
		}
		r := row{Name: fmt.Sprintf("%s, %s pods, CPU", name, s.name), Value: least[i].cpu.Seconds(), Unit: "s", OK: true}
		m := row{Name: fmt.Sprintf("%s, %s pods, memory", name, s.name), Value: least[i].memory, Unit: "MB", OK: true}
		if s.cpu > 0 {
			r, m = atMost(r.Name, r.Value, r.Unit, s.cpu), atMost(m.Name, m.Value, m.Unit, s.memory)
		}
		r.Note = fmt.Sprintf("of %d runs the least; %d roles, %d bindings; %.2f s by the clock", b.rounds, s.size.Roles, s.size.Bindings, least[i].wall.Seconds())
		rows = append(rows, r, m)
	}
	small, large := all[0], all[len(all)-1]
	perPod := func(i int) float64 { return least[i].cpu.Seconds() / float64(all[i].size.Pods) * 1e6 }
	base, value := perPod(0), perPod(len(all)-1)
	ratio := value / base
	return append(rows, row{
		Name: fmt.Sprintf("%s, CPU per pod, %s beside %s pods", name, large.name, small.name), Value: value, Unit: "us",
		Baseline: &base, Ratio: &ratio, Spread: new(float64), OK: true, Note: "start of the program included",
	}), nil
}

// cost is what one run of a program took.
type cost struct {
	cpu, wall time.Duration
	memory    float64 // resident at the most, MB
}

// least asks as often as there are rounds, and returns the run with the least CPU time:
// other work on the machine adds to it and never takes from it.
func (b *bench) least(ctx context.Context, env, args []string) (best cost, err error) {
	for i := range b.rounds {
		cmd := exec.CommandContext(ctx, b.program, append([]string{"scan"}, args...)...)
		cmd.Env = append(os.Environ(), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return best, fmt.Errorf("scan %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
		}
		c := cost{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(began)}
		if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			c.memory = float64(u.Maxrss) / 1024
		}
		if i == 0 || c.cpu < best.cpu {
			best = c
		}
	}
	return best, nil
}

// changed measures the analysis after one binding went, on the graph that is kept: a round
// of cut, which finds out what everybody reaches without the binding that it removed
// last, and which of up to 160 others to remove next.
func (b *bench) changed(s *scanned) row {
	c := s.size.Cluster()
	a := exposure.New(c)
	const rounds = 10
	var one, more, anew []float64
	n := 0
	for range b.rounds {
		one = append(one, milliseconds(func() { a.Cut(nil, 1, nil) }))
		more = append(more, milliseconds(func() { n = len(a.Cut(nil, 1+rounds, nil).Removals) - 1 }))
		anew = append(anew, milliseconds(func() { exposure.New(c) }))
	}
	r := atMost(fmt.Sprintf("analysis after a binding was removed, %s pods, CPU", s.name), (slices.Min(more)-slices.Min(one))/float64(max(n, 1)), "ms", 20)
	r.Note = fmt.Sprintf("a round of cut, mean of %d; a graph made anew %.0f ms", n, slices.Min(anew))
	return r
}

func milliseconds(do func()) float64 {
	began := cputime.Total()
	do()
	return float64(cputime.Total()-began) / float64(time.Millisecond)
}

// hostContainers is how many containers the host runs that is scanned.
const hostContainers = 100

// hosted measures the scan of this host, whose Docker engine runs many containers. Less
// what runs on the machine besides, its processes are what there is to read.
func (b *bench) hosted(ctx context.Context) (rows []row, err error) {
	env := []string{"DOCKER_HOST=" + b.engine.Address}
	if err := forget(); err != nil {
		return nil, err
	}
	few, err := b.least(ctx, env, []string{"--from", "host", "--fail-on", "never"})
	if err != nil {
		return nil, err
	}
	var ids []string
	defer func() {
		_, gone := docker.Output(b.engine.CLI(context.WithoutCancel(ctx), append([]string{"rm", "-f", "-v"}, ids...)...))
		err = errors.Join(err, gone)
	}()
	for range hostContainers {
		id, err := b.engine.Run(ctx, docker.Image)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	many, err := b.least(ctx, env, []string{"--from", "host", "--fail-on", "never"})
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("scan --from host, %d containers, ", hostContainers)
	c, w := atMost(name+"CPU", many.cpu.Seconds(), "s", 0.3), atMost(name+"by the clock", many.wall.Seconds(), "s", 0.3)
	c.Note = fmt.Sprintf("%.2f s of it without them; %.0f MB", few.cpu.Seconds(), many.memory)
	w.Note = fmt.Sprintf("%.2f s of it without them, of the run with the least CPU time", few.wall.Seconds())
	return []row{c, w}, nil
}
