package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// progress tells a person on a terminal what takes so long.
type progress struct {
	mu   sync.Mutex
	what string

	stop func() // nil when there is nobody to tell
}

// When progress begins to show, of the whole command, and how often it changes.
const (
	progressAfter = time.Second
	progressEvery = 100 * time.Millisecond
)

// progress begins to tell what is done, until done is called.
func (env *environment) progress(what string) *progress {
	p := &progress{what: what}
	if _, ok := terminalWidth(env.stderr); ok {
		p.start(env.stderr, env.began)
	}
	return p
}

// start writes to w from a second after began on.
func (p *progress) start(w io.Writer, began time.Time) {
	end := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { p.tell(w, began, end) })
	p.stop = func() {
		close(end)
		all.Wait()
	}
}

func (p *progress) tell(w io.Writer, began time.Time, end <-chan struct{}) {
	shown := ""
	next := time.NewTimer(time.Until(began.Add(progressAfter)))
	defer next.Stop()
	for {
		select {
		case <-end:
			if shown != "" {
				fmt.Fprint(w, "\r\x1b[K")
			}
			return
		case <-next.C:
		}
		p.mu.Lock()
		what := p.what
		p.mu.Unlock()
		if what != shown {
			fmt.Fprint(w, "\r\x1b[K"+printable.Text(what))
			shown = what
		}
		next.Reset(progressEvery)
	}
}

// say changes what is told.
func (p *progress) say(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
}

// reading says how much was read of something.
func (p *progress) reading(what string, n int) {
	if p.stop != nil {
		p.say(fmt.Sprintf("Reading %s: %d", what, n))
	}
}

// done takes the line away. It may be called again.
func (p *progress) done() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}
