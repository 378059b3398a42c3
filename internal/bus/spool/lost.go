package spool

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// stream names what a lost observation was part of, in the words that the
// witnesses themselves use in event.Loss.
type stream struct {
	witness event.Witness
	what    string
}

func streamOf(o event.Observation) stream {
	w := o.Head().Witness
	switch o.(type) {
	case event.SessionEntry, event.ProcessExec, event.ProcessFork, event.ProcessExit, event.ClientConnect, event.ClientClose:
		return stream{w, "process"}
	case event.DockerRequest, event.DockerAnswer, event.Decision:
		return stream{w, "requests"}
	}
	return stream{w, "events"}
}

// lost sums up observations that were dropped, and keeps what of them still
// counts: statements of loss, the latest state of each witness, the host.
type lost struct {
	losses map[stream]event.Loss
	states map[event.Witness]event.WitnessState
	host   *event.Host
	n      uint64 // observations, without what was stated as lost before
}

// lostMax is the most observations that statements makes: there are a few
// streams and a few witnesses.
const lostMax = 64

func (l *lost) empty() bool { return len(l.losses) == 0 && len(l.states) == 0 && l.host == nil }

// add notes that o is lost.
func (l *lost) add(o event.Observation) {
	if l.losses == nil {
		l.losses, l.states = map[stream]event.Loss{}, map[event.Witness]event.WitnessState{}
	}
	switch o := o.(type) {
	case event.Tick, event.Progress: // nothing that happened
	case event.Loss:
		l.sum(stream{o.Witness, o.What}, o.From, o.Time, o.Count)
	case event.WitnessState:
		if len(l.states) < lostMax/2 {
			l.states[o.Witness] = o
		}
	case event.Host:
		l.keepHost(o)
	default:
		t := o.Head().Time
		l.n++
		l.sum(streamOf(o), t, t, 1)
	}
}

// sum adds n records lost between from and to. One of unknown number keeps the
// sum unknown.
func (l *lost) sum(k stream, from, to time.Time, n uint64) {
	was, ok := l.losses[k]
	switch {
	case !ok && len(l.losses) >= lostMax/2-1:
		return
	case !ok:
		was = event.Loss{Header: event.Header{Time: to, Witness: k.witness}, From: from, What: k.what, Count: n}
	default:
		if from.Before(was.From) {
			was.From = from
		}
		if to.After(was.Time) {
			was.Time = to
		}
		if was.Count == 0 || n == 0 {
			was.Count = 0
		} else {
			was.Count += n
		}
	}
	l.losses[k] = was
}

// keepHost merges what several statements say of the host.
func (l *lost) keepHost(h event.Host) {
	if l.host != nil {
		if h.BootID == "" {
			h.Hostname, h.BootID, h.Kernel = l.host.Hostname, l.host.BootID, l.host.Kernel
		}
		users := make(map[uint32]string, len(l.host.Users)+len(h.Users))
		for uid, name := range l.host.Users {
			users[uid] = name
		}
		for uid, name := range h.Users {
			users[uid] = name
		}
		h.Users = users
	}
	l.host = &h
}

// statements returns what takes the place of the lost, in order of time.
func (l *lost) statements() []event.Observation {
	var out []event.Observation
	for _, o := range l.losses {
		out = append(out, o)
	}
	for _, o := range l.states {
		out = append(out, o)
	}
	if l.host != nil {
		out = append(out, *l.host)
	}
	slices.SortFunc(out, func(a, b event.Observation) int {
		return cmp.Or(a.Head().Time.Compare(b.Head().Time), cmp.Compare(event.Name(a), event.Name(b)),
			cmp.Compare(a.Head().Witness, b.Head().Witness))
	})
	return out
}

// lines returns statements in wire form.
func (l *lost) lines() (text []byte, count int, err error) {
	for _, o := range l.statements() {
		line, err := event.Marshal(o)
		if err != nil {
			return nil, 0, err
		}
		text, count = append(append(text, line...), '\n'), count+1
	}
	return text, count, nil
}
