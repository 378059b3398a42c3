// Command run scores Sallyport against ground truth on real daemons: see
// package truth. It prints a table per mode, writes a JSON file, and exits 1
// when a requirement is missed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/truth"
)

func main() {
	truth.ClientMain()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "truth:", err)
		os.Exit(1)
	}
}

func run() error {
	program := flag.String("sallyport", "bin/sallyport", "the program under test")
	out := flag.String("o", "build/truth.json", "where to write the score")
	modes := flag.String("modes", "always,auto,off", "values of --client-requests to score")
	rounds := flag.Int("rounds", 20, "rounds of the storm")
	parallel := flag.Int("parallel", 12, "commands at once")
	seed := flag.Uint64("seed", 1, "seed of the order")
	flag.Parse()
	for _, c := range []string{testbed.Docker, testbed.BPF} {
		if why := testbed.Missing(c); why != "" {
			return fmt.Errorf("missing %s: %s", c, why)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := truth.Options{
		Sallyport: *program, Rounds: *rounds, Parallel: *parallel, Seed: *seed,
		Keep: strings.TrimSuffix(*out, filepath.Ext(*out)), Log: os.Stdout,
	}
	for m := range strings.SplitSeq(*modes, ",") {
		opts.Modes = append(opts.Modes, truth.Mode(m))
	}
	results, err := truth.Main(ctx, opts)
	if writeErr := write(*out, results); err == nil {
		err = writeErr
	}
	if err != nil {
		return err
	}
	return verdict(results, *out)
}

func write(path string, results []truth.Result) error {
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func verdict(results []truth.Result, out string) error {
	for _, r := range results {
		if !r.OK {
			return errors.New("a requirement is missed; failures are listed in " + out)
		}
	}
	return nil
}
