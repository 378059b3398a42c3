package kubestorm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/truth"
)

// Options says what to run.
type Options struct {
	Sallyport string // path of the program under test
	Modes     []truth.Mode
	Rounds    int // each is some 50 commands
	People    int
	Parallel  int           // commands at once
	Gap       time.Duration // on average between two commands, where only the audit log tells of people
	Hold      time.Duration // how long a command runs, at most
	Seed      uint64
	CRIO      bool // the node's runtime, in place of containerd
	// Keep is a directory for what was seen: per mode the deeds, the sessions
	// and what up printed.
	Keep string
	Log  io.Writer
}

// commandTimeout bounds one command of the storm.
const commandTimeout = 2 * time.Minute

// Main runs a storm per mode on a private cluster and scores each.
func Main(ctx context.Context, opts Options) (_ []truth.Result, err error) {
	c, err := kube.Start(ctx, options(opts))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	var results []truth.Result
	for _, mode := range opts.Modes {
		r, err := storm(ctx, c, mode, opts)
		if err != nil {
			return results, fmt.Errorf("mode %s: %w", mode, err)
		}
		results = append(results, r)
		r.Print(opts.Log)
	}
	return results, nil
}

// storm runs and scores one mode.
func storm(ctx context.Context, c *kube.Cluster, mode truth.Mode, opts Options) (_ truth.Result, err error) {
	if mode == Open {
		if err := c.Nodes[0].RestartKubelet(ctx, func(o *kube.NodeOptions) { o.Anonymous, o.Authorization = true, "AlwaysAllow" }); err != nil {
			return truth.Result{}, err
		}
		defer func() {
			err = errors.Join(err, c.Nodes[0].RestartKubelet(ctx, func(o *kube.NodeOptions) { *o = kube.NodeOptions{} }))
		}()
	}
	w, err := watch(ctx, c, mode, opts)
	if err != nil {
		return truth.Result{}, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	began := time.Now()
	stage, err := perform(ctx, c, mode, opts)
	if err != nil {
		return truth.Result{}, err
	}
	if err := stage.Keep(w.dir); err != nil {
		return truth.Result{}, err
	}
	fmt.Fprintf(opts.Log, "%s: %d commands in %.1fs\n", mode, len(stage.Deeds), stage.Until.Sub(began).Seconds())
	sessions, err := w.finish(ctx, stage)
	if err != nil {
		return truth.Result{}, err
	}
	revisions, err := truth.Replay(ctx, w.dir)
	if err != nil {
		return truth.Result{}, err
	}
	return truth.Score(sheet(mode), stage, sessions, revisions), nil
}

// Again scores a kept storm with today's engine.
func Again(ctx context.Context, dir string) (truth.Result, error) {
	stage, err := truth.ReadStage(dir)
	if err != nil {
		return truth.Result{}, err
	}
	revisions, err := truth.Replay(ctx, dir)
	if err != nil {
		return truth.Result{}, err
	}
	return truth.Score(sheet(stage.Mode), stage, truth.Last(revisions), revisions), nil
}

// perform plays all acts of all rounds and returns what truly happened.
func perform(ctx context.Context, c *kube.Cluster, mode truth.Mode, opts Options) (truth.Stage, error) {
	s, err := newScene(ctx, c, mode, opts.People, opts.Hold)
	if err != nil {
		return truth.Stage{}, err
	}
	playErr := s.play(ctx, opts)
	// What began before this moment has come to an ear when the pods end.
	until := time.Now()
	pause(ctx, time.Second)
	deeds, err := s.close(ctx)
	return truth.Stage{Mode: mode, Deeds: deeds, Watched: s.watched(), Until: until}, errors.Join(playErr, err)
}

// turn is one act by one person.
type turn struct {
	do act
	by *person
}

// turns lists all acts of one part of the storm, of all rounds, in random order.
func (s *scene) turns(rounds int, seed uint64, beside bool) (out []turn) {
	for _, a := range acts {
		if a.beside != beside || len(a.modes) > 0 && !slices.Contains(a.modes, s.mode) || a.containerd && s.node.CRIO() {
			continue
		}
		for i := range rounds * len(s.people) {
			p := s.people[i%len(s.people)]
			for range a.times {
				out = append(out, turn{a.do, p})
			}
			if a.every > 0 && i%a.every == 0 {
				out = append(out, turn{a.do, p})
			}
		}
	}
	r := rand.New(rand.NewPCG(seed, 1))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// play does everything, several things at once. People begin one after the other,
// as people do, and still overlap; with a gap of 0 they begin as soon as there is room.
// What goes round the API server is a part of its own: while somebody talks to
// the kubelet, whatever begins may be his, and no witness can say otherwise.
func (s *scene) play(ctx context.Context, opts Options) error {
	if err := s.part(ctx, opts, false); err != nil {
		return err
	}
	return s.part(ctx, opts, true)
}

func (s *scene) part(ctx context.Context, opts Options, beside bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(opts.Parallel)
	for _, t := range s.turns(opts.Rounds, opts.Seed, beside) {
		pause(ctx, time.Duration(rand.ExpFloat64()*float64(opts.Gap)))
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, commandTimeout)
			defer cancel()
			return t.do(ctx, s, t.by)
		})
	}
	return g.Wait()
}
