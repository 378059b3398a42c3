// Command run scores Sallyport against ground truth on a real Docker engine and a
// real Kubernetes cluster: see packages truth and kubestorm. It prints a table per mode, writes a JSON file, and exits 1
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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/truth"
	"github.com/sallyport/sallyport/testbed/truth/kubestorm"
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
	modes := flag.String("modes", "always,auto,off", "values of --client-requests to score on Docker")
	kubeModes := flag.String("kube", "audit,admission,open,late", "what to score on Kubernetes")
	rounds := flag.Int("rounds", 20, "rounds of the storm on Docker")
	kubeRounds := flag.Int("kube-rounds", 6, "rounds of the storm on Kubernetes")
	parallel := flag.Int("parallel", 12, "commands at once")
	gap := flag.Duration("gap", 500*time.Millisecond, "time between two commands on Kubernetes, on average")
	seed := flag.Uint64("seed", 1, "seed of the order")
	again := flag.String("again", "", "score the kept storm on Kubernetes in this directory with this build's engine, and run nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *again != "" {
		r, err := kubestorm.Again(ctx, *again)
		if err != nil {
			return err
		}
		r.Print(os.Stdout)
		if err := write(*out, []truth.Result{r}); err != nil {
			return err
		}
		return verdict([]truth.Result{r}, *out)
	}
	keep := strings.TrimSuffix(*out, filepath.Ext(*out))
	results, err := onDocker(ctx, truth.Options{
		Sallyport: *program, Modes: split(*modes, func(m string) truth.Mode { return truth.Mode(m) }),
		Rounds: *rounds, Parallel: *parallel, Seed: *seed, Keep: keep, Log: os.Stdout,
	})
	if err == nil {
		var more []truth.Result
		more, err = onKube(ctx, kubestorm.Options{
			Sallyport: *program, Modes: split(*kubeModes, func(m string) truth.Mode { return kubestorm.Modes[m] }),
			Rounds: *kubeRounds, People: 8, Parallel: *parallel, Gap: *gap, Hold: 2 * time.Second, Seed: *seed, Keep: keep, Log: os.Stdout,
		})
		results = append(results, more...)
	}
	if writeErr := write(*out, results); err == nil {
		err = writeErr
	}
	if err != nil {
		return err
	}
	return verdict(results, *out)
}

func split(list string, mode func(string) truth.Mode) (out []truth.Mode) {
	for m := range strings.SplitSeq(list, ",") {
		if m != "" {
			out = append(out, mode(m))
		}
	}
	return out
}

func onDocker(ctx context.Context, opts truth.Options) ([]truth.Result, error) {
	if len(opts.Modes) == 0 {
		return nil, nil
	}
	if err := need(testbed.Docker, testbed.BPF); err != nil {
		return nil, err
	}
	return truth.Main(ctx, opts)
}

func onKube(ctx context.Context, opts kubestorm.Options) ([]truth.Result, error) {
	if len(opts.Modes) == 0 {
		return nil, nil
	}
	if i := slices.Index(opts.Modes, ""); i >= 0 {
		return nil, fmt.Errorf("-kube: mode %d of the list is not known", i+1)
	}
	if err := need(testbed.Kube, testbed.BPF); err != nil {
		return nil, err
	}
	return kubestorm.Main(ctx, opts)
}

func need(capabilities ...string) error {
	for _, c := range capabilities {
		if why := testbed.Missing(c); why != "" {
			return fmt.Errorf("missing %s: %s", c, why)
		}
	}
	return nil
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
