package docker

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	bed "github.com/sallyport/sallyport/testbed/docker"
)

// wiretap is a pass-through in front of a daemon's socket that can be cut.
type wiretap struct {
	path, target string
	mu           sync.Mutex
	conns        map[net.Conn]bool
	cut          bool
	done         sync.WaitGroup
	// seen gets every piece that passes, when set.
	seen func(conn int, sent bool, p []byte)
}

func newWiretap(t *testing.T, target string, seen func(int, bool, []byte)) *wiretap {
	t.Helper()
	w := &wiretap{path: filepath.Join(t.TempDir(), "w.sock"), target: target, conns: map[net.Conn]bool{}, seen: seen}
	l, err := net.Listen("unix", w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.done.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.done.Go(func() { w.pass(c, n) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.setCut(true)
		w.done.Wait()
	})
	return w
}

// setCut closes all connections and refuses new ones, or stops that.
func (w *wiretap) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.conns {
			c.Close()
		}
	}
}

func (w *wiretap) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
	return !w.cut
}

func (w *wiretap) pass(client net.Conn, n int) {
	defer client.Close()
	if !w.keep(client) {
		return
	}
	server, err := net.Dial("unix", w.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !w.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { w.copy(server, client, n, false) })
	both.Go(func() { w.copy(client, server, n, true) })
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, client)
	delete(w.conns, server)
}

func (w *wiretap) copy(to, from net.Conn, n int, sent bool) {
	buf := make([]byte, 4096)
	for {
		k, err := from.Read(buf)
		if k > 0 {
			if w.seen != nil {
				w.seen(n, sent, buf[:k])
			}
			if _, err := to.Write(buf[:k]); err != nil {
				return
			}
		}
		if err != nil {
			if c, ok := to.(*net.UnixConn); ok && err == io.EOF {
				c.CloseWrite()
			} else {
				to.Close()
			}
			return
		}
	}
}

func isUp(s event.WitnessState) bool   { return s.Up }
func isDown(s event.WitnessState) bool { return !s.Up }

// downThenUp waits for the n-th time that the witness was down, and the next up.
func downThenUp(r *recorder, n int) (down, up event.WitnessState) {
	r.t.Helper()
	r.until("down and up", func(all []event.Observation) bool {
		downs := 0
		was := true
		for _, s := range pick(all, func(event.WitnessState) bool { return true }) {
			if !s.Up && was {
				downs++
				down = s
			}
			was = s.Up
			if s.Up && downs == n {
				up = s
				return true
			}
		}
		return false
	})
	return down, up
}

// A cut connection is resumed without loss and without repetition.
func TestWitnessResumes(t *testing.T) {
	e := bed.Shared(t)
	id := e.RunT(t, bed.Image)
	w := newWiretap(t, e.Socket, nil)
	r, wit := follow(t, "unix://"+w.path)
	run := func(n int) { e.ExecT(t, 0, id, "/bin/busybox", "true", fmt.Sprint(n)) }
	for n := range 9 {
		if n%3 == 1 {
			w.setCut(true)
			r.until("down", func(all []event.Observation) bool { return len(pick(all, isDown)) > n/3 })
		}
		run(n)
		if n%3 == 1 {
			w.setCut(false)
			down, up := downThenUp(r, n/3+1)
			if up.From.IsZero() || up.From.After(down.Time) || up.Reason != "" && !strings.Contains(up.Reason, "doors") {
				t.Errorf("resumed with loss? down %+v, up %+v", down, up)
			}
		}
	}
	all := r.until("the last exec_die", func(all []event.Observation) bool {
		return len(pick(all, isEvent(event.DockerExecDie, id))) >= 9
	})
	var got []string
	for _, o := range pick(all, isEvent(event.DockerExecCreate, id)) {
		got = append(got, o.Command)
	}
	if len(got) != 9 || !slices.IsSorted(got) {
		t.Errorf("exec_create: %q", got)
	}
	if s := wit.Stats(); s.Gaps != 0 || s.LostEvents != 0 || s.Connects < 4 {
		t.Errorf("stats: %+v", s)
	}
}

// More events than the daemon remembers pass while nobody listens: a gap.
func TestWitnessOverflow(t *testing.T) {
	e := bed.Shared(t)
	id := e.RunT(t, "--network", "none", bed.Image)
	w := newWiretap(t, e.Socket, nil)
	r, wit := follow(t, "unix://"+w.path)
	e.ExecT(t, 0, id, "/bin/busybox", "true")
	find(r, "exec_die", isEvent(event.DockerExecDie, id))
	w.setCut(true)
	find(r, "down", isDown)
	client := e.HTTPClient()
	defer client.CloseIdleConnections()
	for n := range 300 { // each is a "rename" event
		name := "ovf-" + fmt.Sprint(n)
		res, err := client.Post("http://docker/containers/"+id+"/rename?name="+name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	w.setCut(false)
	down, up := downThenUp(r, 1)
	if !up.From.After(down.Time) || !strings.Contains(up.Reason, "256") {
		t.Errorf("down %+v, up %+v", down, up)
	}
	all := r.until("the last rename", func(all []event.Observation) bool {
		return len(pick(all, func(o event.DockerEvent) bool { return o.Action == event.DockerRename && o.Name == "ovf-299" })) > 0
	})
	renames := pick(all, isEvent(event.DockerRename, id))
	if len(renames) != ring || !renames[0].Time.Equal(up.From) {
		t.Errorf("%d renames heard, the first at %v, from %v", len(renames), renames[0].Time, up.From)
	}
	if s := wit.Stats(); s.Gaps != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// A restarted daemon remembers nothing: the gap is told, and what happens
// afterwards is heard.
func TestWitnessDaemonRestart(t *testing.T) {
	e := bed.New(t, bed.Options{})
	id := e.RunT(t, bed.Image)
	r, wit := follow(t, e.Address)
	e.ExecT(t, 0, id, "/bin/busybox", "true", "before")
	find(r, "exec_die", isEvent(event.DockerExecDie, id))
	e.RestartT(t)
	down, up := downThenUp(r, 1)
	if !up.From.After(down.Time) || up.Reason == "" || int(up.DaemonPID) != e.PID() {
		t.Errorf("down %+v, up %+v", down, up)
	}
	e.ExecT(t, 0, id, "/bin/busybox", "true", "after")
	find(r, "exec after", func(o event.DockerEvent) bool { return o.Command == "/bin/busybox true after" })
	if s := wit.Stats(); s.Gaps != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// A hung daemon is told within two pings, also to a witness that comes while it
// hangs, and nothing is lost when it goes on.
func TestWitnessHungDaemon(t *testing.T) {
	e := bed.New(t, bed.Options{})
	id := e.RunT(t, bed.Image)
	r, wit := follow(t, e.Address)
	if err := e.Freeze(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Thaw)
	frozen := time.Now()
	hung := find(r, "down", isDown)
	if d := hung.Time.Sub(frozen); d > 5*wit.times.ping {
		t.Errorf("told after %v", d)
	}
	if !strings.Contains(hung.Reason, "does not answer") {
		t.Errorf("reason %q", hung.Reason)
	}
	late := New(Options{Address: e.Address})
	late.times = wit.times
	lr := &recorder{t: t, more: make(chan struct{})}
	ctx, cancel := contextOf(t)
	done := make(chan error, 1)
	go func() { done <- late.Run(ctx, lr.emit) }()
	find(lr, "down", isDown)

	exec := e.CLI(t.Context(), "exec", id, "/bin/busybox", "true") // waits in the socket
	if err := exec.Start(); err != nil {
		t.Fatal(err)
	}
	e.Thaw()
	if err := exec.Wait(); err != nil {
		t.Error(err)
	}
	down, up := downThenUp(r, 1)
	if up.From.After(down.Time) {
		t.Errorf("recovered with loss? down %+v, up %+v", down, up)
	}
	find(r, "exec_die", isEvent(event.DockerExecDie, id))
	find(lr, "up", isUp)
	cancel()
	<-done
	if s := wit.Stats(); s.Gaps != 0 || s.Connects != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// A daemon that is not there is told, and found when it comes.
func TestWitnessNoDaemon(t *testing.T) {
	w := New(Options{Address: "unix://" + filepath.Join(t.TempDir(), "none.sock")})
	r := &recorder{t: t, more: make(chan struct{})}
	ctx, cancel := contextOf(t)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, r.emit) }()
	find(r, "down", isDown)
	cancel()
	if err := <-done; err != ctx.Err() {
		t.Errorf("Run: %v", err)
	}
	if err := New(Options{Address: "nonsense"}).Run(t.Context(), r.emit); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Run on a bad address: %v", err)
	}
}
