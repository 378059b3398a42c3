package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Recorder keeps what passes when a decision says so: of execs that are started,
// of attaches, and that files are copied. Its methods are called from many
// goroutines.
type Recorder interface {
	// Ready says why no recording could begin now, as far as that can be told. It
	// is asked when an exec is created, where clients show the reason.
	Ready() error
	// Record begins a recording. With an error the request is refused; with none
	// and no Recording it goes on without.
	Record(request *session.Session) (Recording, error)
}

// Recording takes what passes, before it does.
type Recording interface {
	// Write takes bytes of a stream, in order, each way from one goroutine. An
	// error ends the session, and its client is told.
	Write(s Stream, p []byte) error
	// Flush is called before what was written passes on. An error is one of Write.
	Flush() error
	// Resize takes the terminal's new size, from any goroutine, also after Close.
	// When it cannot, the next Write says so.
	Resize(cols, rows uint16)
	// Close ends it, once. An error says that it is not whole.
	Close(End) error
}

// End says how a session ended.
type End struct {
	Exit *int   // as the daemon says; nil when it does not
	Why  string // for a person; "" when there is nothing to say
}

// subject says what is recorded. Of the request, which may be long, nothing is kept.
type subject struct {
	request session.ID
	kind    session.Kind
	op      event.DockerOp
	names   names
	name    string // by which the daemon is asked
}

// outcomeTimeout bounds the question how a session ended.
const outcomeTimeout = 10 * time.Second

// taping is the recording of a request. Of nil nothing is kept.
type taping struct {
	Recording
	proxy  *Proxy
	of     subject
	out    frames                // only whoever copies the output uses it
	failed atomic.Pointer[error] // why bytes were not taken
}

// record begins a recording where the decision wants one.
func (p *Proxy) record(g *passing) (*taping, error) {
	recorded := g.op == event.OpExecStart || g.kind == session.KindAttach || g.kind == session.KindCopy
	if !g.record || p.opt.Recorder == nil || !recorded {
		return nil, nil
	}
	p.taping.RLock()
	rec, err := p.opt.Recorder.Record(&g.session)
	if err != nil || rec == nil {
		p.taping.RUnlock()
		return nil, err
	}
	t := &taping{Recording: rec, proxy: p, of: subject{g.session.ID, g.kind, g.op, g.names, g.name}}
	t.out = frames{to: t.Write, position: position{raw: !g.framed()}}
	p.tapes.Store(t, nil)
	if start, ok := g.typed.(*container.ExecStartRequest); ok && start.ConsoleSize != nil {
		t.resize(start.ConsoleSize[1], start.ConsoleSize[0])
	}
	return t, nil
}

// framed reports whether the daemon sends stdout and stderr of a stream in frames.
// Of an exec that is up to the request to start it, whatever the exec has.
func (g *passing) framed() bool {
	if start, ok := g.typed.(*container.ExecStartRequest); ok {
		return !start.Tty
	}
	return g.channel == event.ChannelDockerAttach && !g.session.TTY
}

// unrecorded refuses what was to be recorded and cannot be.
func (p *Proxy) unrecorded(w http.ResponseWriter, a *asked, id event.RequestID, err error) {
	p.opt.Logger.Error("refused, since it cannot be recorded", slog.String("request", string(a.session.ID)), slog.Any("error", err))
	p.stats.Denied.Add(1)
	if p.opt.Observe != nil {
		p.observe(event.DockerAnswer{Header: now(), ID: id, Op: a.op, Status: http.StatusServiceUnavailable})
	}
	p.refuse(w, http.StatusServiceUnavailable, "sallyport: no recording, no session: "+err.Error())
}

// input takes what the client sends.
func (t *taping) input() func([]byte) error {
	if t == nil {
		return nil
	}
	return func(b []byte) error {
		err := t.Write(Stdin, b)
		if err == nil {
			err = t.Flush()
		}
		return t.check(err)
	}
}

// output takes what the daemon sends.
func (t *taping) output() func([]byte) error {
	if t == nil {
		return nil
	}
	return func(b []byte) error {
		at := t.out.position
		err := t.out.write(b)
		if err == nil {
			err = t.Flush()
		}
		if err != nil {
			t.out.position = at // where the client is
		}
		return t.check(err)
	}
}

// check remembers why bytes were not taken.
func (t *taping) check(err error) error {
	if err != nil && t.failed.CompareAndSwap(nil, &err) {
		t.proxy.opt.Logger.Error("ended, since it is not recorded any more", slog.String("request", string(t.of.request)), slog.Any("error", err))
	}
	return err
}

// broken returns why bytes were not taken.
func (t *taping) broken() error {
	if t == nil || t.failed.Load() == nil {
		return nil
	}
	return *t.failed.Load()
}

// last is what the client of a broken recording is told, behind what it was sent.
func (t *taping) last() []byte {
	return t.out.last(fmt.Sprintf("sallyport: no recording, no session: %v (request %s)", t.broken(), t.of.request))
}

func (t *taping) resize(cols, rows uint) {
	if cols <= math.MaxUint16 && rows <= math.MaxUint16 {
		t.Resize(uint16(cols), uint16(rows))
	}
}

// end ends the recording; why is "" when it was carried out.
func (t *taping) end(why string) {
	if t == nil {
		return
	}
	defer t.proxy.taping.RUnlock()
	t.proxy.tapes.Delete(t)
	e := End{Why: why}
	if why == "" && t.of.kind != session.KindCopy {
		e = t.proxy.outcome(&t.of)
	}
	if err := t.Close(e); err != nil {
		t.proxy.opt.Logger.Error("a recording is not whole", slog.String("request", string(t.of.request)), slog.Any("error", err))
	}
}

// taped waits until no recording goes on.
func (p *Proxy) taped() {
	p.taping.Lock()
	defer p.taping.Unlock()
}

// outcome asks the daemon how a session ended.
func (p *Proxy) outcome(of *subject) End {
	ctx, cancel := context.WithTimeout(context.Background(), outcomeTimeout)
	defer cancel()
	var running bool
	var exit *int
	var err error
	if of.op == event.OpExecStart {
		var x event.DockerExec
		x, err = p.daemon.exec(ctx, of.name)
		running, exit = x.Running, x.ExitCode
	} else {
		running, exit, err = p.daemon.state(ctx, of.name)
	}
	var said *answer
	switch {
	case errors.As(err, &said) && said.status == http.StatusNotFound:
		return End{Why: "the daemon does not know it any more"}
	case err != nil:
		return End{Why: "the daemon cannot be asked how it ended"}
	case running:
		return End{Why: "it still ran when its stream ended"}
	}
	return End{Exit: exit}
}

// copies carries out a copy whose metadata is recorded: what is copied is counted.
func (p *Proxy) copies(w http.ResponseWriter, r *http.Request, g *passing) {
	t, err := p.record(g)
	if err != nil {
		p.unrecorded(w, g.asked, g.id, err)
		return
	}
	why := "it was cut off"
	defer func() { t.end(why) }() // also when the copy is cut off by a panic
	if g.tape = t; t != nil {
		r.Body = counted{io.TeeReader(r.Body, into{t, Stdin}), r.Body}
	}
	p.forward(w, r, g)
	switch g.status {
	case http.StatusOK:
		why = ""
	case 0: // it was cut off, or the daemon could not be asked
	default:
		why = fmt.Sprintf("the daemon answers %d", g.status)
	}
}

// counted is a body that passes into a recording.
type counted struct {
	io.Reader
	io.Closer
}

// into is a stream of a recording.
type into struct {
	*taping
	stream Stream
}

// Write implements io.Writer. Of what is not taken it takes nothing: that is how an
// io.TeeReader does not pass it on.
func (i into) Write(p []byte) (int, error) {
	if err := i.check(i.taping.Write(i.stream, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// resized tells recordings of a terminal's new size, once the daemon has set it.
func (p *Proxy) resized(ctx context.Context, g *passing) {
	cols, err1 := strconv.ParseUint(g.query.Get("w"), 10, 16)
	rows, err2 := strconv.ParseUint(g.query.Get("h"), 10, 16)
	if err1 != nil || err2 != nil || p.opt.Recorder == nil {
		return
	}
	name := g.asName
	if g.names == aContainer { // recordings know the full id
		c, err := p.daemon.container(ctx, name)
		if err != nil {
			return
		}
		name = string(c.ID)
	}
	p.tapes.Range(func(k, _ any) bool {
		if t, _ := k.(*taping); t.of.name == name && t.of.names == g.names && t.of.kind != session.KindCopy {
			t.resize(uint(cols), uint(rows))
		}
		return true
	})
}

// state returns whether a container runs, and how it ended.
func (d *daemon) state(ctx context.Context, id string) (running bool, exit *int, err error) {
	body, err := d.get(ctx, "/containers/"+url.PathEscape(id)+"/json")
	if err != nil {
		return false, nil, err
	}
	var c struct {
		State struct {
			Status   string
			Running  bool
			ExitCode *int
		}
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return false, nil, fmt.Errorf("inspect of container %s: %w", id, err)
	}
	if c.State.Status == "created" {
		return false, nil, nil // it has not run yet, and no code says anything
	}
	return c.State.Running, c.State.ExitCode, nil
}

// isResize reports whether a request sets a terminal's size.
func (g *passing) isResize() bool { return strings.HasSuffix(g.path, "/resize") && g.names != other }
