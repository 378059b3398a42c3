// Package replay is the verb that runs the engine over kept observations:
// offline, without root, on any system, with the same result on every run.
package replay

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/playback"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Result is what a replay came to.
type Result struct {
	// Sessions holds the last state of each session that was not found to be
	// part of another, in order of start.
	Sessions     []session.Session
	Observations int
}

// Play plays observations as one history and gives each revision, numbered from
// 1 for each session, to each (which may be nil). When the input ends with an
// error, the result is that of everything before it, and the error is returned
// too.
func Play(input iter.Seq2[event.Observation, error], opt correlate.Options, each func(session.Revision) error) (Result, error) {
	p := player{Player: playback.New(correlate.NewFleet(opt)), each: each, last: map[session.ID]session.Session{}}
	var broken error
	for o, err := range input {
		if err != nil {
			broken = err
			break
		}
		p.count++
		if err := p.take(p.Observe(o)); err != nil {
			return p.result(), err
		}
	}
	if err := p.take(p.Flush()); err != nil {
		return p.result(), err
	}
	return p.result(), broken
}

type player struct {
	*playback.Player
	each  func(session.Revision) error
	last  map[session.ID]session.Session
	count int
}

func (p *player) take(revisions []session.Revision) error {
	for _, r := range revisions {
		r.Session.Revision = p.last[r.Session.ID].Revision + 1
		p.last[r.Session.ID] = r.Session
		if p.each == nil {
			continue
		}
		if err := p.each(r); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) result() Result {
	sessions := slices.DeleteFunc(slices.Collect(maps.Values(p.last)), func(s session.Session) bool { return s.SupersededBy != "" })
	slices.SortFunc(sessions, func(a, b session.Session) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return Result{Sessions: sessions, Observations: p.count}
}
