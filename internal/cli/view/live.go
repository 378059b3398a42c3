package view

import (
	"fmt"
	"sync"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Live prints revisions as they are acknowledged: with --json each of them, for
// a person only those that tell something new. Where standard output is gone it
// falls silent: watching goes on, and the store has everything.
type Live struct {
	env    *terminal.Env
	Render Renderer
	asJSON bool
	told   map[session.ID]string // what was last said of a session
	mu     sync.Mutex            // revisions and findings come from two goroutines
	silent bool                  // guarded by mu
}

// NewLive returns what prints to the standard output of env.
func NewLive(env *terminal.Env, asJSON bool) *Live {
	return &Live{env: env, Render: Of(env), asJSON: asJSON, told: map[session.ID]string{}}
}

// toldMax bounds Live.told; when it is full, a session may be told of again.
const toldMax = 1 << 13

// Revisions prints revisions, until nothing can be printed any more.
func (l *Live) Revisions(list []session.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range list {
		if l.silent {
			return
		}
		l.failed(l.Revision(r))
	}
}

// Findings prints findings as they are acknowledged; with --json each as an
// object of the one key "finding".
func (l *Live) Findings(list []finding.Finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range list {
		switch {
		case l.silent:
			return
		case l.asJSON:
			l.failed(terminal.WriteJSON(l.env.Stdout, map[string]finding.Finding{"finding": f}))
		default:
			_, err := fmt.Fprintln(l.env.Stdout, l.Render.Finding(&f))
			l.failed(err)
		}
	}
}

// failed falls silent, mu held, when nothing can be printed.
func (l *Live) failed(err error) {
	if err != nil && !l.silent {
		l.silent = true
		fmt.Fprintf(l.env.Stderr, "Nothing more is printed: %v. Watching goes on.\n", err)
	}
}

// Revision prints one revision, if it tells something new.
func (l *Live) Revision(r session.Revision) error {
	if l.asJSON {
		return terminal.WriteJSON(l.env.Stdout, revision(r))
	}
	s := &r.Session
	if s.SupersededBy != "" {
		return nil
	}
	news := gist(s)
	if l.told[s.ID] == news {
		return nil
	}
	if len(l.told) >= toldMax {
		clear(l.told)
	}
	l.told[s.ID] = news
	if key := routine(s); key != "" {
		if l.told[session.ID(key)] == "routine" {
			return nil
		}
		l.told[session.ID(key)] = "routine"
	}
	_, err := fmt.Fprintln(l.env.Stdout, l.Render.Line(r))
	return err
}

// gist is what of a session is worth a line when it changes.
func gist(s *session.Session) string {
	return fmt.Sprint(s.Kind, s.Channel, s.State, outcome(s).Text, who(s), s.Attribution.Level, s.Unexplained)
}
