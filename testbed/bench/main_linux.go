// Command bench measures what Sallyport costs, on a private Docker engine. It
// is `make bench`: it prints a table and writes build/bench.json.
//
// Comparisons interleave runs with and without Sallyport in pairs and report
// the median of the pairs' ratios, because machines drift. Nothing here fails
// when a target is missed: figures of a shared machine are for people to judge.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// bench is one run of the benchmark.
type bench struct {
	program  string
	dir      string // logs and state directories
	rounds   int
	sessions int
	scale    int // divides the size of every job, for a quick look

	engine    *docker.Engine
	storm     string // this program, inside containers
	container string
}

// parts are what can be run alone, in the order of the table.
var parts = []struct {
	name string
	run  func(*bench, context.Context) ([]row, error)
}{
	{"ab", (*bench).compare},
	{"kernel", (*bench).kernel},
	{"storm", (*bench).storms},
	{"memory", (*bench).memory},
	{"audit", (*bench).audits},
	{"rules", (*bench).pack},
	{"scan", (*bench).scans},
	{"host", (*bench).hosted},
	{"recording", (*bench).recordings},
	{"guard", (*bench).guards},
}

func main() {
	stormMain()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	b := &bench{}
	flag.StringVar(&b.program, "sallyport", "bin/sallyport", "the program to measure")
	out := flag.String("o", "build/bench.json", "where to write the figures")
	flag.IntVar(&b.rounds, "rounds", 7, "rounds of each comparison, at least 5 for a figure")
	flag.IntVar(&b.sessions, "sessions", 100_000, "sessions before the memory is measured")
	flag.IntVar(&b.scale, "scale", 1, "divide the size of every job, for a quick look")
	only := flag.String("parts", "ab,kernel,storm,memory,audit,rules,scan,host,recording,guard", "what to measure")
	flag.Parse()
	for _, c := range []string{testbed.Docker, testbed.BPF} {
		if why := testbed.Missing(c); why != "" {
			return fmt.Errorf("missing %s: %s", c, why)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.dir = filepath.Join(filepath.Dir(*out), "bench")
	if err := b.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.engine.Stop()) }()
	var rows []row
	for _, p := range parts {
		if !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		got, err := p.run(b, ctx)
		rows = append(rows, got...)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", p.name, err), write(*out, rows))
		}
	}
	print(os.Stdout, rows)
	return write(*out, rows)
}

// open starts the engine and the container that jobs run in.
func (b *bench) open(ctx context.Context) (err error) {
	if b.engine, err = docker.Start(ctx, docker.Options{}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.engine.Stop())
		}
	}()
	b.storm = filepath.Join(b.engine.Dir, "storm")
	if err := copySelf(b.storm); err != nil {
		return err
	}
	b.container, err = b.engine.Run(ctx, "-v", b.storm+":/storm:ro", docker.Image)
	return err
}

// copySelf puts this program where a container can mount it.
func copySelf(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
