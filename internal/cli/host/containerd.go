package host

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
)

// containerdWitness is every containerd of this host in one: that which Docker
// uses or the configuration names, and those at the usual places, such as a
// Kubernetes node's. It finds the first each time it is started, because
// Docker's own comes and goes with the daemon, and looks for others meanwhile.
type containerdWitness struct{ host *Host }

// lookEvery is how often another containerd is looked for.
const lookEvery = 10 * time.Second

// Run implements watch.Witness.
func (w containerdWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	first, err := FindContainerd(w.host.conf, w.host.Docker)
	others := w.others(first)
	if err != nil && len(others) == 0 {
		return err
	}
	c := newChorus(emit)
	running := map[string]bool{}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := func(path string, needed bool) {
		if path == "" || running[path] {
			return
		}
		running[path] = true
		c.join(path, needed)
		wg.Go(func() {
			_ = containerd.New(containerd.Options{Address: path, Logger: w.host.log}).Run(ctx, c.part(path))
		})
	}
	start(first, w.host.conf.Containerd != "" || w.host.Docker.Present || answers(first))
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, path := range others {
			start(path, false)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			others = w.others(first)
		}
	}
}

// others returns the sockets at the usual places, besides the first, at which
// somebody answers. With a socket that was named by the configuration there are
// none: whoever names one means it.
func (w containerdWitness) others(first string) []string {
	if w.host.conf.Containerd != "" {
		return nil
	}
	return slices.DeleteFunc(containerd.Usual(), func(path string) bool { return sameFile(path, first) || !answers(path) })
}

func sameFile(a, b string) bool {
	one, err1 := filepath.EvalSymlinks(a)
	other, err2 := filepath.EvalSymlinks(b)
	return err1 == nil && err2 == nil && one == other
}

// answers reports whether somebody accepts connections on a unix socket: one
// that a daemon left behind is there and answers nobody.
func answers(path string) bool {
	if !isSocket(path) {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return errors.Is(err, os.ErrPermission)
	}
	_ = conn.Close()
	return true
}

// chorus makes one witness of several of a kind: it is up while all are that
// have to be. One that is not needed has to be once it was up.
type chorus struct {
	mu     sync.Mutex
	emit   func(event.Observation) // under mu
	voices map[string]*event.WitnessState
}

func newChorus(emit func(event.Observation)) *chorus {
	return &chorus{emit: emit, voices: map[string]*event.WitnessState{}}
}

// join adds a voice. A needed one counts before it has said anything.
func (c *chorus) join(name string, needed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if needed {
		c.voices[name] = nil
	}
}

// part returns what the voice called name gives its observations to.
func (c *chorus) part(name string) func(event.Observation) {
	return func(o event.Observation) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s, ok := o.(event.WitnessState)
		if !ok {
			c.emit(o)
			return
		}
		_, counts := c.voices[name]
		if counts || s.Up {
			c.voices[name] = &s
			c.state(s)
		}
	}
}

// state tells what one voice's state makes of the whole.
func (c *chorus) state(s event.WitnessState) {
	if !s.Up {
		c.emit(s)
		return
	}
	for _, v := range c.voices {
		if v == nil || !v.Up {
			return
		}
		if v.From.After(s.From) {
			s.From = v.From
		}
	}
	if len(c.voices) > 1 {
		s.DaemonPID = 0
	}
	c.emit(s)
}
