package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// Progress tells a person on a terminal what takes so long.
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

// Progress begins to tell what is done, until done is called.
func (env *Env) Progress(what string) *progress {
	p := &progress{what: what}
	if _, ok := WidthOf(env.Stderr); ok {
		p.start(env.Stderr, env.Began)
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

// Say changes what is told.
func (p *progress) Say(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
}

// Reading says how much was read of something.
func (p *progress) Reading(what string, n int) {
	if p.stop != nil {
		p.Say(fmt.Sprintf("Reading %s: %d", what, n))
	}
}

// Done takes the line away. It may be called again.
func (p *progress) Done() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}
