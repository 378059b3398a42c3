package truth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/up"
)

// Options says what to run.
type Options struct {
	Sallyport string // path of the program under test
	Modes     []Mode
	Rounds    int // each is some 60 commands by three people
	Parallel  int // commands at once
	Seed      uint64
	// Keep is a directory for what was seen: per mode the deeds, the sessions
	// and what up printed.
	Keep string
	Log  io.Writer
}

// commandTimeout bounds one command of the storm.
const commandTimeout = 2 * time.Minute

// Main runs a storm per mode on a private engine and scores each.
func Main(ctx context.Context, opts Options) (_ []Result, err error) {
	e, err := docker.Start(ctx, docker.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Stop()) }()
	if err := importImage(ctx, e); err != nil {
		return nil, err
	}
	client := filepath.Join(e.Dir, "client")
	if err := copySelf(client); err != nil {
		return nil, err
	}
	var results []Result
	for _, mode := range opts.Modes {
		r, err := storm(ctx, e, client, mode, opts)
		if err != nil {
			return results, fmt.Errorf("mode %s: %w", mode, err)
		}
		results = append(results, r)
		r.Print(opts.Log)
	}
	return results, nil
}

// storm runs and scores one mode.
func storm(ctx context.Context, e *docker.Engine, client string, mode Mode, opts Options) (_ Result, err error) {
	keep := filepath.Join(opts.Keep, string(mode))
	p, err := up.Start(opts.Sallyport, keep, e, "--client-requests", string(mode))
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	if err := p.Ready(ctx, e); err != nil {
		return Result{}, err
	}
	s, err := newScene(ctx, e, client, 150*time.Millisecond)
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	err = s.play(ctx, opts)
	// What began before this moment has been told when the containers end.
	until := time.Now()
	pause(ctx, time.Second)
	deeds, closeErr := s.close(ctx)
	stage := Stage{Mode: mode, Deeds: deeds, Watched: s.watched, Until: until}
	if err := errors.Join(err, closeErr, stage.Keep(keep)); err != nil {
		return Result{}, err
	}
	fmt.Fprintf(opts.Log, "%s: %d commands in %.1fs\n", mode, len(deeds), until.Sub(began).Seconds())
	if err := settle(ctx, p, deeds); err != nil {
		return Result{}, err
	}
	if err := p.Stop(); err != nil {
		return Result{}, err
	}
	sessions, err := p.Sessions(ctx)
	if err != nil {
		return Result{}, err
	}
	revisions, err := Replay(ctx, keep)
	if err != nil {
		return Result{}, err
	}
	return Score(DockerSheet(mode), stage, sessions, revisions), nil
}

// play does all acts of all rounds in random order, several at once.
func (s *scene) play(ctx context.Context, opts Options) error {
	type turn struct {
		do  act
		uid uint32
	}
	var turns []turn
	for range opts.Rounds {
		for _, a := range acts {
			for range a.times {
				for _, uid := range people {
					turns = append(turns, turn{a.do, uid})
				}
			}
		}
	}
	r := rand.New(rand.NewPCG(opts.Seed, 1))
	r.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(opts.Parallel)
	for _, t := range turns {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, commandTimeout)
			defer cancel()
			return t.do(ctx, s, t.uid)
		})
	}
	return g.Wait()
}

// settle waits until every deed has an ended session, for half a minute at
// most: late is not an error, the score tells.
func settle(ctx context.Context, p *up.Process, deeds []Deed) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); pause(ctx, time.Second) {
		sessions, err := p.Sessions(ctx)
		if err := errors.Join(err, p.Failed(), ctx.Err()); err != nil {
			return err
		}
		if settled(deeds, sessions) {
			return nil
		}
	}
	return nil
}

func settled(deeds []Deed, sessions []session.Session) bool {
	x := newIndex(sessions)
	for i := range deeds {
		found := x.find(&deeds[i])
		ends := deeds[i].Door != DockerUnused
		if len(found) == 0 || ends && found[0].State == session.StateRunning {
			return false
		}
	}
	return true
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// copySelf puts this program where every uid can run it.
func copySelf(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, err := os.Open(self)
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
