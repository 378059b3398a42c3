package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/up"
)

// job is a piece of work that is timed with and without Sallyport.
type job struct {
	name  string
	limit float64 // of the ratio; 0 for none
	run   func(ctx context.Context, b *bench) (time.Duration, error)
}

// jobs are the comparisons with Sallyport's default settings, tapped those with
// every request of every client tapped, the dearest setting.
var jobs = []job{
	{"exec storm, host", 1.03, func(_ context.Context, b *bench) (time.Duration, error) { return execStorm(4000/b.scale, 0) }},
	{"exec storm, container", 1.03, func(ctx context.Context, b *bench) (time.Duration, error) {
		return b.containerStorm(ctx, 4000/b.scale, 0)
	}},
	{"compile job", 1.03, func(ctx context.Context, b *bench) (time.Duration, error) { return compile(ctx, 40/b.scale) }},
	{"syscalls", 1.01, func(_ context.Context, b *bench) (time.Duration, error) { return syscalls(8_000_000 / b.scale) }},
	{"unix ping-pong", 1.03, func(_ context.Context, b *bench) (time.Duration, error) { return pingPong(60_000/b.scale, unixPair) }},
	{"TCP ping-pong", 1.03, func(_ context.Context, b *bench) (time.Duration, error) { return pingPong(60_000/b.scale, tcpPair) }},
}

var tapped = []job{jobs[3], jobs[4], jobs[5]}

// compare times all jobs in interleaved rounds.
func (b *bench) compare(ctx context.Context) ([]row, error) {
	type series struct{ without, with []float64 }
	auto, always := make([]series, len(jobs)), make([]series, len(tapped))
	time1 := func(j job) (float64, error) {
		took, err := j.run(ctx, b)
		return took.Seconds(), errors.Join(err, ctx.Err())
	}
	for round := range b.rounds {
		fmt.Printf("round %d of %d\n", round+1, b.rounds)
		for k, set := range []struct {
			mode string
			jobs []job
			out  []series
		}{{"auto", jobs, auto}, {"always", tapped, always}} {
			without := func() error {
				for i, j := range set.jobs {
					v, err := time1(j)
					if err != nil {
						return fmt.Errorf("%s: %w", j.name, err)
					}
					set.out[i].without = append(set.out[i].without, v)
				}
				return nil
			}
			with := func() error {
				return b.watched(ctx, set.mode, func(*up.Process) error {
					for i, j := range set.jobs {
						v, err := time1(j)
						if err != nil {
							return fmt.Errorf("%s: %w", j.name, err)
						}
						set.out[i].with = append(set.out[i].with, v)
					}
					return nil
				})
			}
			first, second := without, with
			if (round+k)%2 == 1 { // neither side always has the warmer machine
				first, second = with, without
			}
			if err := first(); err != nil {
				return nil, err
			}
			if err := second(); err != nil {
				return nil, err
			}
		}
	}
	var rows []row
	for i, j := range jobs {
		rows = append(rows, compare(j.name, "s", auto[i].with, auto[i].without, j.limit))
	}
	for i, j := range tapped {
		rows = append(rows, compare(j.name+", --client-requests always", "s", always[i].with, always[i].without, 0))
	}
	return rows, nil
}

// watched does something while Sallyport watches.
func (b *bench) watched(ctx context.Context, mode string, do func(p *up.Process) error) error {
	p, err := up.Start(b.program, filepath.Join(b.dir, mode), b.engine, "--client-requests", mode)
	if err != nil {
		return err
	}
	if err := p.Ready(ctx, b.engine); err != nil {
		return errors.Join(err, p.Stop())
	}
	return errors.Join(do(p), p.Failed(), p.Stop())
}

// containerStorm runs a storm in the container and returns what the generator
// itself measured: starting it is docker's business.
func (b *bench) containerStorm(ctx context.Context, n, rate int) (time.Duration, error) {
	cmd := b.engine.CLI(ctx, "exec", "-e", fmt.Sprintf("%s=%d %d", envStorm, n, rate), b.container, "/storm")
	out, err := docker.Output(cmd)
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(out, 10, 64)
	return time.Duration(ns), err
}

// kernel measures the time spent in our programs inside the kernel per exec
// (with the fork and the exit that belong to it), by the kernel's own statistics.
func (b *bench) kernel(ctx context.Context) ([]row, error) {
	var rows []row
	err := b.watched(ctx, "auto", func(p *up.Process) error {
		stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
		if err != nil {
			return fmt.Errorf("enable BPF statistics: %w", err)
		}
		defer stats.Close()
		for _, where := range []string{"host", "container"} {
			n := 4000 / b.scale
			before, err := programTimes(p.PID())
			if err != nil {
				return err
			}
			if where == "host" {
				_, err = execStorm(n, 0)
			} else {
				_, err = b.containerStorm(ctx, n, 0)
			}
			if err != nil {
				return err
			}
			after, err := programTimes(p.PID())
			if err != nil {
				return err
			}
			total, note := perExec(before, after, n)
			r := atMost("in kernel per exec, "+where, total/1000, "µs", 6)
			r.Note = note
			rows = append(rows, r)
		}
		return nil
	})
	return rows, err
}

// programTimes returns the run time in nanoseconds of every BPF program that a
// process holds, by name and id.
func programTimes(pid int) (map[string]float64, error) {
	ids, err := programs(pid)
	if err != nil {
		return nil, err
	}
	times := make(map[string]float64, len(ids))
	for _, id := range ids {
		prog, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return nil, fmt.Errorf("BPF program %d: %w", id, err)
		}
		info, infoErr := prog.Info()
		stats, statsErr := prog.Stats()
		prog.Close()
		if err := errors.Join(infoErr, statsErr); err != nil {
			return nil, fmt.Errorf("BPF program %d: %w", id, err)
		}
		times[info.Name+"/"+strconv.Itoa(int(id))] = float64(stats.Runtime)
	}
	if len(times) == 0 {
		return nil, fmt.Errorf("process %d holds no BPF program with statistics", pid)
	}
	return times, nil
}

// programs lists the BPF programs that a process holds, directly or by links.
func programs(pid int) ([]ebpf.ProgramID, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	var ids []ebpf.ProgramID
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "prog_id:"); ok {
				if id, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32); err == nil {
					ids = append(ids, ebpf.ProgramID(id))
				}
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// perExec returns nanoseconds per exec of all programs together, and in words
// those of the dearest.
func perExec(before, after map[string]float64, n int) (total float64, note string) {
	type share struct {
		name string
		ns   float64
	}
	var shares []share
	for key, v := range after {
		ns := (v - before[key]) / float64(n)
		total += ns
		name, _, _ := strings.Cut(key, "/")
		shares = append(shares, share{name, ns})
	}
	slices.SortFunc(shares, func(a, b share) int { return int(b.ns - a.ns) })
	var words []string
	for _, s := range shares[:min(3, len(shares))] {
		words = append(words, fmt.Sprintf("%s %.2f", s.name, s.ns/1000))
	}
	return total, strings.Join(words, ", ")
}

// storms measures user CPU per exec to the store, and loss at 2,000 exec/s.
func (b *bench) storms(ctx context.Context) ([]row, error) {
	const rate = 2000
	var rows []row
	err := b.watched(ctx, "auto", func(p *up.Process) error {
		n := 20_000 / b.scale
		before, err := cpu(p.PID())
		if err != nil {
			return err
		}
		took, err := b.containerStorm(ctx, n, rate)
		if err != nil {
			return err
		}
		if err := quiet(ctx, p.PID()); err != nil {
			return err
		}
		after, err := cpu(p.PID())
		if err != nil {
			return err
		}
		each := 1e6 / float64(n)
		r := atMost("user CPU per exec to the store", (after.user-before.user)*each, "µs", 50)
		r.Note = fmt.Sprintf("and %.0f µs in the kernel", (after.system-before.system)*each)
		rows = append(rows, r)
		lost, err := b.lost(ctx, p, n)
		if err != nil {
			return err
		}
		r = atMost(fmt.Sprintf("lost at %d exec/s", rate), float64(lost), "execs", 0)
		r.Note = fmt.Sprintf("%d execs at %.0f/s", n, float64(n)/took.Seconds())
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

// lost counts the processes of the storm that its session does not have.
func (b *bench) lost(ctx context.Context, p *up.Process, n int) (int, error) {
	sessions, err := p.Sessions(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range sessions {
		if string(s.Target.ContainerID) == b.container && s.Kind == session.KindExec && s.ProcessesTotal > 1 {
			return max(n+1-s.ProcessesTotal, int(s.LostRecords)), nil
		}
	}
	return 0, errors.New("the storm's session is not there")
}

// memory measures the resident memory after many sessions: each is a chroot
// into the container's root, which is the cheapest way in.
func (b *bench) memory(ctx context.Context) ([]row, error) {
	var rows []row
	err := b.watched(ctx, "auto", func(p *up.Process) error {
		pid, err := b.engine.HostPID(ctx, b.container)
		if err != nil {
			return err
		}
		root := fmt.Sprintf("/proc/%d/root", pid)
		n := b.sessions / b.scale
		start := time.Now()
		for i := range n {
			if i%1000 == 0 {
				if err := errors.Join(ctx.Err(), p.Failed()); err != nil {
					return err
				}
			}
			if err := spawn(&syscall.ProcAttr{Sys: &syscall.SysProcAttr{Chroot: root}}); err != nil {
				return err
			}
		}
		rate := float64(n) / time.Since(start).Seconds()
		if err := quiet(ctx, p.PID()); err != nil {
			return err
		}
		rss, anon, err := resident(p.PID())
		if err != nil {
			return err
		}
		r := atMost(fmt.Sprintf("RSS after %d sessions", n), rss, "MB", 80)
		r.Note = fmt.Sprintf("%.0f MB of it anonymous; %.0f sessions/s", anon, rate)
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

// times are CPU seconds.
type times struct{ user, system float64 }

func cpu(pid int) (times, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return times{}, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return times{}, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return times{user / 100, system / 100}, errors.Join(err1, err2) // USER_HZ is 100
}

// quiet waits until a process uses next to no CPU for two seconds: then what it
// had to do is done. It gives up after a minute.
func quiet(ctx context.Context, pid int) error {
	calm := 0
	last, err := cpu(pid)
	if err != nil {
		return err
	}
	for range 240 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		now, err := cpu(pid)
		if err != nil {
			return err
		}
		if now.user+now.system-last.user-last.system > 0.015 {
			calm = 0
		} else if calm++; calm == 8 {
			return nil
		}
		last = now
	}
	return nil
}

// resident returns a process's resident memory and the anonymous part of it, in MB.
func resident(pid int) (rss, anon float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch name {
		case "VmRSS":
			rss = kb / 1024
		case "RssAnon":
			anon = kb / 1024
		}
	}
	return rss, anon, nil
}
