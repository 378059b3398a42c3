package correlate

import (
	"container/heap"
	"slices"
	"time"
)

// agenda is what is to be looked at: in the queue under the time that it is due, and
// in awaiting under the time up to which the kernel sensor has to have told. A
// subject is in each at most once; one that is gone is in neither.
type agenda struct {
	queue    queue
	awaiting map[subject]time.Time
	idle     idle
	inPods   idle // those in pods
}

func newAgenda() agenda {
	return agenda{awaiting: map[subject]time.Time{}, idle: idle{most: idleMax}, inPods: idle{most: idleInPods}}
}

// schedule makes c due at t, or earlier when it already was.
func (a *agenda) schedule(c subject, t time.Time) {
	s := c.state()
	switch {
	case s.queued == 0:
		s.dueAt = t
		heap.Push(&a.queue, c)
	case t.Before(s.dueAt):
		s.dueAt = t
		heap.Fix(&a.queue, s.queued-1)
	}
}

// remove has c not looked at any more.
func (a *agenda) remove(c subject) {
	delete(a.awaiting, c)
	if at := c.state().queued; at > 0 {
		heap.Remove(&a.queue, at-1)
	}
}

// next returns when the next is due; false when nothing is.
func (a *agenda) next() (time.Time, bool) {
	if len(a.queue) == 0 {
		return time.Time{}, false
	}
	return a.queue[0].state().dueAt, true
}

// take takes out the first that is due by now, or returns nil.
func (a *agenda) take(now time.Time) subject {
	if due, ok := a.next(); !ok || due.After(now) {
		return nil
	}
	return heap.Pop(&a.queue).(subject)
}

// waiting lists those in the queue that match.
func (a *agenda) waiting(match func(subject) bool) []subject {
	var found []subject
	for _, c := range a.queue {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// await notes up to when the kernel sensor has to have told for c to be looked at
// again; zero when it has.
func (a *agenda) await(c subject, t time.Time) {
	if t.IsZero() {
		delete(a.awaiting, c)
		return
	}
	a.awaiting[c] = t
}

// told takes out those that waited for what the kernel sensor has now told.
func (a *agenda) told(through time.Time) []subject {
	var out []subject
	for c, t := range a.awaiting {
		if !t.After(through) {
			delete(a.awaiting, c)
			out = append(out, c)
		}
	}
	return out
}

// queue is a heap of subjects by due time.
type queue []subject

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i].state(), q[j].state()
	if !a.dueAt.Equal(b.dueAt) {
		return a.dueAt.Before(b.dueAt)
	}
	return before(q[i], q[j]) < 0
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].state().queued, q[j].state().queued = i+1, j+1
}

func (q *queue) Push(x any) {
	c := x.(subject)
	*q = append(*q, c)
	c.state().queued = len(*q)
}

func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	c.state().queued = 0
	return c
}

// What is over stays open for late evidence only. Of more than so many the oldest
// are closed before their time; in pods, where the audit log comes late and a
// command is weighed with those around it, later.
const (
	idleMax    = 1 << 10
	idleInPods = 1 << 13
)

// idle are the subjects that were over when their last fact came, oldest first, and
// no more than most of them. Some may have been touched since.
type idle struct {
	most int
	list []idler
}

type idler struct {
	subject
	since time.Time
}

// stale reports whether the subject was touched since, or is gone.
func (c idler) stale() bool {
	s := c.state()
	return !s.expires || s.gone || !s.lastSeen.Equal(c.since)
}

// add notes that c is over, and returns those that have to make room.
func (l *idle) add(c subject) []idler {
	l.list = append(l.list, idler{c, c.state().lastSeen})
	if len(l.list) <= l.most {
		return nil
	}
	l.list = slices.DeleteFunc(l.list, idler.stale)
	if len(l.list) <= l.most {
		return nil
	}
	old := slices.Clone(l.list[:len(l.list)-l.most*7/8])
	l.list = slices.Delete(l.list, 0, len(old))
	return old
}
