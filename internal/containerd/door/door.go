// Package door stands in front of an OCI runtime: before a command begins in a
// container, whoever had it begin, [call] asks here and a judge decides. It is the last
// door, behind that of the daemon, and the only one for what goes beside it: ctr,
// clients of CRI, the runtime by hand.
package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/containerd/door/call"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Judge decides about commands before they begin. Its methods are called from many
// goroutines.
type Judge interface {
	// Begins says whether a command may begin. It may take its time; ctx ends with
	// the runtime's call.
	Begins(ctx context.Context, request *session.Session) policy.Verdict
	// Misread is told of a call of which nobody can tell what begins by it, and
	// says whether it is refused.
	Misread(request *session.Session, reason error) (refuse bool)
}

// Docker is a container as the Docker daemon has it.
type Docker struct {
	Target session.Target // without what it has from the host
	// Health is the command of its health check; nil when it has none that is known.
	Health []string
}

// Options are those of a Door. Judge and Peer are required.
type Options struct {
	Judge Judge
	// Peer says who connected.
	Peer func(net.Conn) (event.ConnID, event.Peer)
	// User names a uid, "" when it has no name.
	User func(uid uint32) string
	// Docker describes a container of the Docker daemon's, nil when the daemon has
	// none of that id. It must not ask what the daemon does not say while it waits
	// for a runtime. It is nil when there is no daemon.
	Docker func(ctx context.Context, id event.ContainerID) (*Docker, error)
	// Observe is told what was decided about a container, and about an exec of which
	// the runtime's client told the id; nil when nobody asks. It is called from many
	// goroutines.
	Observe func(event.Observation)
	Logger  *slog.Logger
}

// Door answers runtimes.
type Door struct {
	opt   Options
	slots chan struct{}
	stats Stats
}

// Stats counts what a door did.
type Stats struct {
	Calls, Denied, Misread atomic.Uint64
}

// Bounds of a door.
const (
	slotsMax     = 256 // calls at a time; others wait
	questionTime = 10 * time.Second
	lookTime     = 5 * time.Second
)

// New returns a door; it answers nobody yet.
func New(opt Options) *Door {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.User == nil {
		opt.User = func(uint32) string { return "" }
	}
	return &Door{opt: opt, slots: make(chan struct{}, slotsMax)}
}

// Stats returns what the door did so far.
func (d *Door) Stats() *Stats { return &d.stats }

// Serve answers until ctx ends. Calls that wait then have no answer, and are refused
// by whoever asks.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close() // when Serve returns the name is gone, and free for the next one
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		c, err := l.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("runtime door: %w", err)
		}
		d.slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-d.slots }()
			defer c.Close()
			d.serve(ctx, c)
		})
	}
}

// serve answers one call.
func (d *Door) serve(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_, peer := d.opt.Peer(c)
	_ = c.SetDeadline(time.Now().Add(questionTime))
	from := json.NewDecoder(io.LimitReader(c, call.QuestionMax))
	var q call.Question
	if err := from.Decode(&q); err != nil {
		if !errors.Is(err, io.EOF) {
			d.opt.Logger.Error("a runtime asks what cannot be read", slog.Any("error", err))
		}
		return
	}
	_ = c.SetDeadline(time.Time{})
	go func() { // whoever asks sends nothing more: this ends with him
		defer cancel()
		_, _ = c.Read(make([]byte, 1))
	}()
	d.stats.Calls.Add(1)
	_ = json.NewEncoder(c).Encode(d.answer(ctx, &q, &peer))
}

// answer decides about one call.
func (d *Door) answer(ctx context.Context, q *call.Question, peer *event.Peer) (a call.Answer) {
	by := callerOf(peer)
	s := d.session(&q.Line, peer, by)
	defer func() {
		if trouble := recover(); trouble != nil {
			d.opt.Logger.Error("no decision", slog.Any("panic", trouble), slog.String("stack", string(debug.Stack())))
			a = d.misread(s, errors.New("sallyport failed to decide"))
		}
	}()
	if err := d.describe(ctx, s, q, by); err != nil {
		return d.misread(s, err)
	}
	v := d.opt.Judge.Begins(ctx, s)
	if s.ExecID != "" || q.Line.Verb != call.Exec {
		d.tell(s, &v)
	}
	if v.Stopped {
		d.stats.Denied.Add(1)
		return call.Answer{Message: v.Message}
	}
	return call.Answer{Allow: true}
}

// tell tells what was decided here. What was decided in front of the daemon has been
// told from there.
func (d *Door) tell(s *session.Session, v *policy.Verdict) {
	if d.opt.Observe == nil || v.Elsewhere {
		return
	}
	d.opt.Observe(event.Decision{
		Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessGuard}, Container: s.Target.ContainerID, ExecID: s.ExecID, Argv: s.Argv,
		Channel: s.Channel, Kind: string(s.Kind), Effect: v.Effect, Rule: v.Rule, Message: v.Message, Approver: v.Approver, Stopped: v.Stopped,
	})
}

func (d *Door) misread(s *session.Session, why error) call.Answer {
	d.stats.Misread.Add(1)
	if !d.opt.Judge.Misread(s, why) {
		return call.Answer{Allow: true}
	}
	return call.Answer{Message: fmt.Sprintf("it cannot be found out what begins: %v (request %s)", why, s.ID)}
}
