package door_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// deck is a recorder of tapes. A tape takes as many bytes of each stream as most
// says, and nothing can begin while refuse is set.
type deck struct {
	mu     sync.Mutex
	refuse error   // guarded by mu; what Record says
	ready  error   // guarded by mu; what Ready says
	flush  error   // guarded by mu; what Flush says
	panics bool    // guarded by mu; what Flush does instead
	most   [3]int  // guarded by mu
	tapes  []*tape // guarded by mu
}

type tape struct {
	deck    *deck
	request session.Session
	most    [3]int
	taken   [3]bytes.Buffer // guarded by deck.mu
	sizes   []string        // guarded by deck.mu
	end     *door.End       // guarded by deck.mu
	ends    int             // guarded by deck.mu
}

func newDeck() *deck {
	return &deck{most: [3]int{1 << 30, 1 << 30, 1 << 30}}
}

// Ready implements door.Recorder.
func (d *deck) Ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready
}

// Record implements door.Recorder.
func (d *deck) Record(s *session.Session) (door.Recording, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return nil, d.refuse
	}
	t := &tape{deck: d, request: *s, most: d.most}
	d.tapes = append(d.tapes, t)
	return t, nil
}

func (d *deck) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// last returns what was recorded last, once it has ended.
func (d *deck) last(t *testing.T) (taken [3]string, sizes []string, end door.End, request session.Session) {
	t.Helper()
	eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.tapes) == 0 || d.tapes[len(d.tapes)-1].end == nil {
			return false
		}
		p := d.tapes[len(d.tapes)-1]
		for i := range p.taken {
			taken[i] = p.taken[i].String()
		}
		sizes, end, request = p.sizes, *p.end, p.request
		if p.ends != 1 {
			t.Errorf("it was ended %d times", p.ends)
		}
		return true
	})
	return taken, sizes, end, request
}

// Write implements door.Recording.
func (p *tape) Write(s door.Stream, b []byte) error {
	p.deck.mu.Lock()
	defer p.deck.mu.Unlock()
	if p.taken[s].Len()+len(b) > p.most[s] {
		return errors.New("the disk is full")
	}
	p.taken[s].Write(b)
	return nil
}

// Flush implements door.Recording.
func (p *tape) Flush() error {
	p.deck.mu.Lock()
	defer p.deck.mu.Unlock()
	if p.deck.panics {
		panic("a recorder's mistake")
	}
	return p.deck.flush
}

// Resize implements door.Recording.
func (p *tape) Resize(cols, rows uint16) {
	p.deck.mu.Lock()
	defer p.deck.mu.Unlock()
	p.sizes = append(p.sizes, fmt.Sprintf("%dx%d", cols, rows))
}

// Close implements door.Recording.
func (p *tape) Close(e door.End) error {
	p.deck.mu.Lock()
	defer p.deck.mu.Unlock()
	p.end, p.ends = &e, p.ends+1
	return nil
}

// recording is a rule that has everything recorded that can be.
const recording = `
version: 1
default: allow
rules:
  - {id: all, when: 'session.channel.startsWith("DK-")', effect: [allow, record]}
`

// recorded is a door with a deck.
func recorded(t *testing.T, e *docker.Engine) (*doorway, *deck) {
	t.Helper()
	k := newDeck()
	return open(t, e, recording, func(o *door.Options, _ *guard.Options) { o.Recorder = k }), k
}

// TestRecorded: what passes is recorded as it passes, by stream, with the end that
// the daemon tells.
func TestRecorded(t *testing.T) {
	e := docker.Shared(t)
	d, k := recorded(t, e)
	id := e.RunT(t, docker.Image)
	t.Run("exec", func(t *testing.T) {
		cmd := d.cli(t, "exec", "-i", id, "/bin/sh", "-c", "cat; echo err >&2; exit 7")
		cmd.Stdin = strings.NewReader("12345678\n")
		if out, err := cmd.Output(); string(out) != "12345678\n" {
			t.Errorf("%v %s", err, out)
		}
		taken, _, end, request := k.last(t)
		if taken != [3]string{"12345678\n", "12345678\n", "err\n"} || end.Exit == nil || *end.Exit != 7 || end.Why != "" {
			t.Errorf("%q %+v", taken, end)
		}
		if string(request.Target.ContainerID) != id || request.ExecID == "" || request.Actor.User != "root" || strings.Join(request.Argv, " ") != "/bin/sh -c cat; echo err >&2; exit 7" {
			t.Errorf("%+v", request)
		}
	})
	t.Run("much", func(t *testing.T) {
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
		cmd := d.cli(t, "exec", "-i", id, "/bin/cat")
		cmd.Stdin = bytes.NewReader(big)
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, big) {
			t.Errorf("%v, %d bytes", err, len(out))
		}
		if taken, _, _, _ := k.last(t); taken[0] != string(big) || taken[1] != string(big) {
			t.Errorf("%d bytes in, %d out", len(taken[0]), len(taken[1]))
		}
	})
	t.Run("terminal", func(t *testing.T) {
		out := d.terminal(t, "stty size\nexit 5\n", "exec", "-it", id, "/bin/sh")
		taken, sizes, end, request := k.last(t)
		if !strings.Contains(out, "exit 5") || !request.TTY || end.Exit == nil || *end.Exit != 5 || !strings.HasPrefix(out, taken[1]) {
			t.Errorf("seen %q, taken %q, %+v", out, taken, end)
		}
		if len(sizes) == 0 || sizes[0] != "90x33" {
			t.Errorf("sizes %v", sizes)
		}
	})
	t.Run("attach", func(t *testing.T) {
		cmd := d.cli(t, "run", "-i", "--rm", docker.Image, "/bin/cat")
		cmd.Stdin = strings.NewReader("through\n")
		if out, err := cmd.CombinedOutput(); err != nil || docker.Said(out) != "through\n" {
			t.Errorf("%v %q", err, out)
		}
		taken, _, _, request := k.last(t)
		if taken != [3]string{"through\n", "through\n", ""} || request.Kind != session.KindAttach {
			t.Errorf("%q %+v", taken, request)
		}
	})
	t.Run("detached", func(t *testing.T) {
		d.must(t, "exec", "-d", id, "/bin/true")
		if taken, _, end, _ := k.last(t); taken != [3]string{} || end.Exit != nil || !strings.HasPrefix(end.Why, "detached") {
			t.Errorf("%q %+v", taken, end)
		}
	})
	t.Run("refused by the daemon", func(t *testing.T) {
		x := execOn(t, d.socket, id, `{"Cmd":["/bin/true"],"AttachStdout":true}`)
		d.must(t, "pause", id)
		defer d.must(t, "unpause", id)
		said := talk(t, d.socket, request("POST /exec/"+x+"/start", "{}", "Connection: close"), false, nil)
		if _, _, end, _ := k.last(t); end.Exit != nil || end.Why != "the daemon answers 409" {
			t.Errorf("%s %+v", said.Head, end)
		}
	})
}

// TestRecordedFraming: whether the daemon frames what it sends is up to the request
// to start an exec, not to the exec. Both ways the same is recorded.
func TestRecordedFraming(t *testing.T) {
	e := docker.Shared(t)
	d, k := recorded(t, e)
	id := e.RunT(t, docker.Image)
	for _, c := range []struct {
		create, start string
		out           string
	}{
		{`{"Cmd":["/bin/echo","hello"],"AttachStdout":true,"AttachStderr":true}`, `{"Tty":false}`, "hello\n"},
		{`{"Cmd":["/bin/echo","hello"],"AttachStdout":true,"AttachStderr":true}`, `{"Tty":true}`, "hello\n"},
		{`{"Cmd":["/bin/echo","hello"],"AttachStdout":true,"AttachStderr":true,"Tty":true}`, `{"Tty":false}`, "hello\r\n"},
		{`{"Cmd":["/bin/echo","hello"],"AttachStdout":true,"AttachStderr":true,"Tty":true}`, `{"Tty":true}`, "hello\r\n"},
	} {
		for _, headers := range [][]string{{upgraded, toTCP}, {"Connection: close"}} {
			x := execOn(t, d.socket, id, c.create)
			said := talk(t, d.socket, request("POST /exec/"+x+"/start", c.start, headers...), strings.Contains(c.start, "false"), nil)
			if taken, _, end, _ := k.last(t); taken[1] != c.out || said.Stdout != c.out || end.Exit == nil || *end.Exit != 0 {
				t.Errorf("%s %s %v: taken %q, seen %q, %+v", c.create, c.start, headers, taken, said.Stdout, end)
			}
		}
	}
}

// TestUnrecorded: what cannot be recorded does not begin, and what is not recorded
// any more ends; whoever asked is told why.
func TestUnrecorded(t *testing.T) {
	e := docker.Shared(t)
	d, k := recorded(t, e)
	id := e.RunT(t, docker.Image)
	full := errors.New("the disk is full")

	k.set(func() { k.ready = full })
	if out, err := d.run(t, "exec", id, "/bin/true"); err == nil || !strings.Contains(out, "Error response from daemon: sallyport: no recording, no session: the disk is full") {
		t.Errorf("%v %s", err, out)
	}
	k.set(func() { k.ready, k.refuse = nil, full })
	x := execOn(t, d.socket, id, `{"Cmd":["/bin/touch","/tmp/unrecorded"],"AttachStdout":true}`)
	if out := d.as(t, 0, request("POST /exec/"+x+"/start", "{}", "Connection: close")); !strings.Contains(out, " 503 ") || !strings.Contains(out, "no recording, no session: the disk is full") {
		t.Errorf("%s", out)
	}
	if out, err := d.run(t, "cp", "/etc/hosts", id+":/tmp/unrecorded"); err == nil || !strings.Contains(out, "the disk is full") {
		t.Errorf("%v %s", err, out)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(e.HostPIDT(t, id)) + "/root/tmp/unrecorded"); err == nil {
		t.Error("it ran")
	}
	k.set(func() { k.refuse, k.most = nil, [3]int{1 << 30, 100_000, 1 << 30} })
	out, err := d.run(t, "exec", id, "/bin/sh", "-c", "while :; do echo 0123456789abcdef0123456789abcdef; done")
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() == 0 || !strings.Contains(out, "no recording, no session: the disk is full") || strings.Count(out, "\n") > 100_000/33+5 {
		t.Errorf("%v, %d bytes, ending in %q", err, len(out), out[max(0, len(out)-300):])
	}
	if out := d.terminal(t, "while :; do echo 0123456789abcdef; done\n", "exec", "-it", id, "/bin/sh"); !strings.Contains(out, "sallyport: no recording, no session: the disk is full (request ") {
		t.Errorf("%d bytes, ending in %q", len(out), out[max(0, len(out)-300):])
	}
	k.set(func() { k.most, k.flush = newDeck().most, full })
	if out, err := d.run(t, "exec", id, "/bin/echo", "unrecorded"); err == nil || strings.Contains(out, "unrecorded") || !strings.Contains(out, "the disk is full") {
		t.Errorf("what was not flushed: %v %q", err, out)
	}
	// What is typed is not recorded any more: then nothing comes back, either.
	k.set(func() { k.most, k.flush = [3]int{4, 1 << 30, 1 << 30}, nil })
	if out := d.terminal(t, "echo a-long-line\n", "exec", "-it", id, "/bin/sh"); !strings.Contains(out, "the disk is full") || strings.Contains(out, "\na-long-line") {
		t.Errorf("%q", out)
	}
	// A mistake of the program's ends the stream, and not the guard.
	k.set(func() { k.most, k.panics = newDeck().most, true })
	if out, _ := d.run(t, "exec", id, "/bin/echo", "unrecorded"); strings.Contains(out, "unrecorded") {
		t.Errorf("%q", out)
	}
	if _, _, end, _ := k.last(t); end.Exit != nil || end.Why != "it was cut off" {
		t.Errorf("%+v", end)
	}
	k.set(func() { k.panics = false })
	if out, err := d.run(t, "exec", id, "/bin/echo", "recorded"); err != nil || out != "recorded\n" {
		t.Errorf("%v %q", err, out)
	}
}

// TestRecordedCopies: of docker cp it is recorded that it took place, and how much
// was copied which way.
func TestRecordedCopies(t *testing.T) {
	e := docker.Shared(t)
	d, k := recorded(t, e)
	id := e.RunT(t, docker.Image)
	d.must(t, "cp", "/etc/hosts", id+":/tmp/h")
	taken, _, end, request := k.last(t)
	if len(taken[0]) < 512 || taken[1] != "" || end.Why != "" || request.Direction != "in" || request.Path != "/tmp" {
		t.Errorf("in: %d and %d bytes, %+v, %s %s", len(taken[0]), len(taken[1]), end, request.Direction, request.Path)
	}
	cmd := d.cli(t, "cp", id+":/bin/busybox", "-")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if taken, _, end, request = k.last(t); taken[1] != string(out) || taken[0] != "" || end.Why != "" || request.Direction != "out" || request.Path != "/bin/busybox" {
		t.Errorf("out: %d bytes of %d, %+v, %s %s", len(taken[1]), len(out), end, request.Direction, request.Path)
	}
	k.set(func() { k.most[1] = 100_000 })
	cmd = d.cli(t, "cp", id+":/bin/busybox", "-")
	if out, err = cmd.Output(); err == nil {
		t.Errorf("a copy that was not taken succeeds")
	}
	if taken, _, _, _ = k.last(t); taken[1] != string(out) {
		t.Errorf("of it %d bytes were taken, %d passed", len(taken[1]), len(out))
	}
	said := talk(t, d.socket, requestOf("GET /containers/"+id+"/archive?path=/nowhere"), false, nil)
	if _, _, end, _ = k.last(t); end.Why != "the daemon answers 404" {
		t.Errorf("%s %+v", said.Head, end)
	}
}

func requestOf(line string) string { return request(line, "", "Connection: close") }

// TestRecordingsEndWithTheDoor: when Serve returns, all that was recorded has
// ended, streams that were cut off among it.
func TestRecordingsEndWithTheDoor(t *testing.T) {
	e := docker.Shared(t)
	d, k := recorded(t, e)
	id := e.RunT(t, docker.Image)
	x := execOn(t, d.socket, id, `{"Cmd":["/bin/sleep","1000"],"AttachStdout":true}`)
	c := dial(t, d.socket)
	if _, err := io.WriteString(c, request("POST /exec/"+x+"/start", "{}", upgraded, toTCP)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 200)); err != nil {
		t.Fatal(err)
	}
	d.stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.tapes[0]; p.end == nil || p.end.Exit != nil || !strings.Contains(p.end.Why, "still ran") {
		t.Errorf("%+v", p)
	}
}

// terminal runs a shell on a terminal of 90 by 33, types, and returns what is
// shown.
func (d *doorway) terminal(t *testing.T, typed string, args ...string) string {
	t.Helper()
	cmd := d.cli(t, args...)
	term, err := testbed.StartTerminal(cmd, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	if err := unix.IoctlSetWinsize(int(term.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 90, Row: 33}); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	var out []byte
	for b := make([]byte, 1<<12); ; { // ends with EIO
		n, err := term.Read(b)
		out = append(out, b[:n]...)
		if typed != "" && bytes.Contains(out, []byte("# ")) { // the prompt: before, our own terminal would echo
			_, _ = io.WriteString(term, typed)
			typed = ""
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return string(out)
}
