package audit

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// The feeds of a witness.
const (
	feedLog     = "log"
	feedWebhook = "webhook"
)

// sink is where the feeds of a witness put what they read. It makes one state of
// their states: the witness is up while one feed is, and the canary is heard.
type sink struct {
	w      *Witness
	canary *canary
	faults *faults

	mu      sync.Mutex
	emit    func(event.Observation)
	feeds   map[string]*feedState
	silent  string // why the canary says that nothing comes; "" when it does not
	limited string // why there is no canary
	said    event.WitnessState
	told    bool
	through time.Time
}

type feedState struct {
	up     bool
	from   time.Time
	reason string
}

func newSink(w *Witness, emit func(event.Observation)) *sink {
	return &sink{w: w, emit: emit, canary: newCanary(w), faults: newFaults(w), feeds: map[string]*feedState{}}
}

func header(t time.Time) event.Header {
	return event.Header{Time: t.UTC(), Witness: event.WitnessAudit}
}

// expect says that a feed will report its state.
func (s *sink) expect(feed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[feed] = &feedState{reason: "not yet up"}
}

// line takes one audit event as it was read. Damage is dealt with here.
func (s *sink) line(feed string, b []byte) {
	s.w.stats.events.Add(1)
	var q event.KubeRequest
	ok, err := Parse(b, &q)
	switch {
	case err != nil:
		s.bad(feed, b, err)
	case ok:
		s.request(q)
	}
}

func (s *sink) bad(feed string, b []byte, err error) {
	s.w.stats.malformed.Add(1)
	s.faults.note(feed, b, err)
}

// request reports a request, unless it is our own canary.
func (s *sink) request(q event.KubeRequest) {
	if s.canary.heard(&q, s) {
		return
	}
	s.w.stats.relevant.Add(1)
	s.put(q)
}

func (s *sink) put(o event.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit(o)
}

// atEnd says that a log has been read to its end at that time. What is not there
// may still be on its way, if the log is a copy: as long as canaries were, and
// whatever came after one that has not come back.
func (s *sink) atEnd(at time.Time) {
	late, through := s.canary.late(at)
	if late > 0 {
		at = at.Add(-late)
	}
	if at = at.Add(-time.Second); through.IsZero() || at.Before(through) {
		through = at
	}
	s.progress(through)
}

// progress says that all that happened before through has been reported.
func (s *sink) progress(through time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent != "" || !through.After(s.through) {
		return
	}
	s.through = through
	s.emit(event.Progress{Header: header(time.Now()), Through: through.UTC()})
}

// up says that a feed misses nothing from from on. reason limits that.
func (s *sink) up(feed string, from time.Time, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.feeds[feed] = feedState{up: true, from: from, reason: reason}
	s.tell(time.Now())
}

// loosen says that a feed that is up is no longer limited.
func (s *sink) loosen(feed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[feed].reason = ""
	s.tell(time.Now())
}

func (s *sink) down(feed, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.feeds[feed] = feedState{reason: reason}
	s.tell(time.Now())
}

// gap says that a feed missed something between since and from. Where another
// feed is up it has what this one missed.
func (s *sink) gap(feed string, since, from time.Time, reason string) {
	s.w.stats.gaps.Add(1)
	s.w.opts.Logger.Warn("audit events are missing", slog.String("feed", feed), slog.Time("since", since), slog.Time("until", from), slog.String("reason", reason))
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.feeds[feed] = feedState{reason: reason}
	s.tell(since)
	*s.feeds[feed] = feedState{up: true, from: from}
	s.tell(time.Now())
}

// hush says that no canary has come back since since.
func (s *sink) hush(reason string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent == "" {
		s.silent = reason
		s.tell(since)
	}
}

// missed says that canaries between since and from are lost, though later ones
// have come back.
func (s *sink) missed(reason string, since, from time.Time) {
	s.hush(reason, since)
	s.wake(from)
}

// wake says that a canary has come back. from is when it was sent if an earlier
// one has not, zero when none is missing.
func (s *sink) wake(from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent == "" {
		return
	}
	s.silent = ""
	if !from.IsZero() {
		s.w.stats.gaps.Add(1)
	}
	for _, f := range s.feeds {
		if f.up && f.from.Before(from) {
			f.from = from
		}
	}
	s.tell(time.Now())
}

// limit says why canaries cannot be sent, "" that they can.
func (s *sink) limit(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limited != reason {
		s.limited = reason
		s.tell(time.Now())
	}
}

// tell reports the state when it has changed. A change of From alone, without
// having been down, is not told: nothing was missed.
func (s *sink) tell(at time.Time) {
	state := event.WitnessState{Header: header(at)}
	var reasons []string
	for _, name := range []string{feedLog, feedWebhook} {
		f := s.feeds[name]
		if f == nil {
			continue
		}
		if f.reason != "" {
			reasons = append(reasons, name+": "+f.reason)
		}
		if f.up && (!state.Up || f.from.Before(state.From)) {
			state.Up, state.From = true, f.from.UTC()
		}
	}
	if s.silent != "" {
		state.Up, state.From = false, time.Time{}
		reasons = append(reasons, s.silent)
	}
	if s.limited != "" {
		reasons = append(reasons, s.limited)
	}
	state.Reason = strings.Join(reasons, "; ")
	if state.Up && s.told && s.said.Up {
		state.From = s.said.From
	}
	if s.told && state.Up == s.said.Up && state.Reason == s.said.Reason {
		return
	}
	s.said, s.told = state, true
	s.w.opts.Logger.Info("audit feed", slog.Bool("up", state.Up), slog.String("reason", state.Reason))
	s.emit(state)
}
