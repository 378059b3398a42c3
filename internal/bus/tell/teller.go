// Package tell carries what a guard sees to the sallyport up of the same host, by
// a unix socket in its state directory: observations in wire form, one to a line.
//
// The guard never waits for whoever listens: what does not fit is counted and told
// as lost. Nothing is acknowledged, either. When one end is killed, what was on the
// way is lost, and that is told, too.
package tell

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

const (
	queueMax   = 1 << 13         // observations that wait for the listener
	retryEvery = time.Second     // until the listener is there
	lineWait   = 5 * time.Second // for a listener that reads slowly
	endWait    = 2 * time.Second // at the end, for what still waits
)

// Teller sends observations to a Listener. Tell may be called from any goroutine.
type Teller struct {
	path  string
	log   *slog.Logger
	queue chan event.Observation

	mu   sync.Mutex
	lost event.Loss // guarded by mu; Count is 0 when nothing is
	from time.Time  // guarded by mu; since when all is told
}

// NewTeller returns one that tells the listener at path, which need not be there.
func NewTeller(path string, log *slog.Logger) *Teller {
	return &Teller{path: path, log: log, queue: make(chan event.Observation, queueMax), from: time.Now().UTC()}
}

// Tell puts o on its way. It does not wait.
func (t *Teller) Tell(o event.Observation) {
	select {
	case t.queue <- o:
	default:
		t.drop(o.Head().Time)
	}
}

func (t *Teller) drop(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost.Count == 0 {
		t.lost.From = at
	}
	t.lost.Time, t.lost.Count = at, t.lost.Count+1
}

// Run sends until ctx ends, and then what still waits.
func (t *Teller) Run(ctx context.Context) error {
	failed := ""
	for ctx.Err() == nil {
		c, err := new(net.Dialer).DialContext(ctx, "unix", t.path)
		if err == nil {
			failed = ""
			if err = t.serve(ctx, c); ctx.Err() == nil {
				t.log.Warn("sallyport up hears no more of what passes here; it is tried again", slog.String("socket", t.path), slog.Any("error", err))
			}
			continue
		}
		if failed != err.Error() {
			failed = err.Error()
			t.log.Info("no sallyport up to tell", slog.String("socket", t.path), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
	return nil
}

// serve sends on one connection until it breaks or ctx ends.
func (t *Teller) serve(ctx context.Context, c net.Conn) error {
	defer c.Close()
	broken := make(chan struct{})
	go func() { // the listener says nothing: whatever comes is its end
		defer close(broken)
		_, _ = io.Copy(io.Discard, c)
	}()
	w := bufio.NewWriterSize(c, 64<<10)
	t.mu.Lock()
	up := event.WitnessState{Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessGuard}, Up: true, From: t.from}
	t.mu.Unlock()
	err := t.send(c, w, up)
	if err == nil {
		err = t.caughtUp(c, w)
	}
	for err == nil {
		select {
		case o := <-t.queue:
			err = t.send(c, w, o)
		case <-broken:
			err = io.ErrUnexpectedEOF
		case <-ctx.Done():
			return t.finish(c, w)
		}
		if err == nil && len(t.queue) == 0 {
			err = t.caughtUp(c, w)
		}
	}
	t.mu.Lock()
	t.from = time.Now().UTC()
	t.mu.Unlock()
	return err
}

// caughtUp sends what was lost meanwhile, and everything on its way.
func (t *Teller) caughtUp(c net.Conn, w *bufio.Writer) error {
	t.mu.Lock()
	lost := t.lost
	t.lost = event.Loss{}
	t.mu.Unlock()
	if lost.Count > 0 {
		lost.Witness, lost.What = event.WitnessGuard, "requests"
		if err := t.send(c, w, lost); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (t *Teller) finish(c net.Conn, w *bufio.Writer) error {
	end := time.After(endWait)
	for {
		select {
		case o := <-t.queue:
			if err := t.send(c, w, o); err != nil {
				return err
			}
			continue
		case <-end:
			return errors.New("too slow")
		default:
		}
		if err := t.caughtUp(c, w); err != nil {
			return err
		}
		bye := event.WitnessState{Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessGuard}}
		return errors.Join(t.send(c, w, bye), w.Flush())
	}
}

func (t *Teller) send(c net.Conn, w *bufio.Writer, o event.Observation) error {
	line, err := event.Marshal(o)
	if err != nil {
		return err
	}
	if len(line) > lineMax {
		t.drop(o.Head().Time)
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(lineWait)); err != nil {
		return err
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		t.drop(o.Head().Time)
		return err
	}
	return nil
}
