// Package daemonlog reads the Docker daemon's own log: logrus text
// (`time="…" level=… msg="…"`), logrus JSON (--log-format json of newer daemons),
// and either of them behind journald's or syslog's prefix.
//
// Only a daemon with --debug tells of commands. Of an exec it tells that it began
// ("starting exec command ID in container ID") and what was asked for ("Calling
// POST /containers/REF/exec" and the body behind it, "form data: {…}"), but
// nothing that ties the two: the body is taken for that of the exec that a client
// starts next ("Calling POST /exec/ID/start"), when no other that was asked for
// has yet to be started. It never tells who asked, which pid ran, or how it ended.
// Checked with Docker 20.10.24; the words are those of moby's daemon/exec.go and
// api/server/middleware/debug.go.
package daemonlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// Sniff reports whether a record is a line of the daemon's log.
func Sniff(record []byte) bool {
	_, err := parse(record)
	return err == nil
}

// Reader makes observations of one log. It is not safe for concurrent use.
type Reader struct {
	greeted bool
	other   int
	asked   int     // exec creates whose exec no client has started yet
	last    request // the latest of them
	mixed   bool    // there was more than one of them at a time
	body    bool    // the next body is that of last
	clients map[string]bool
	started map[string]bool
}

// New returns a reader.
func New() *Reader { return &Reader{clients: map[string]bool{}, started: map[string]bool{}} }

// Inside is always 0: the log is not about processes.
func (r *Reader) Inside() int { return 0 }

// Other counts lines that are not about commands.
func (r *Reader) Other() int { return r.other }

// request is a request to create an exec.
type request struct {
	ref        string
	argv       []string
	tty        bool
	user       string
	privileged bool
	read       bool // its body was
}

// startedMax bounds the exec ids that are remembered.
const startedMax = 1 << 14

// line is a line of the log.
type line struct {
	time  time.Time
	level string
	msg   string
}

var (
	errNoLine = errors.New("no line of the Docker daemon's log")
	shape     = regexp.MustCompile(`(?:^|[\]:] )time="([^"]{20,40})" level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+)`)
)

// parse reads a line.
func parse(data []byte) (line, error) {
	if i := bytes.IndexByte(data, '{'); i >= 0 && bytes.Contains(data[i:], []byte(`"msg"`)) && !bytes.Contains(data[:i], []byte("time=")) {
		return parseJSON(data[i:])
	}
	m := shape.FindSubmatch(data)
	if m == nil {
		return line{}, errNoLine
	}
	at, err := time.Parse(time.RFC3339Nano, string(m[1]))
	if err != nil {
		return line{}, errNoLine
	}
	msg := string(m[3])
	if strings.HasPrefix(msg, `"`) {
		if msg, err = strconv.Unquote(msg); err != nil {
			return line{}, errNoLine
		}
	}
	return line{at.UTC(), string(m[2]), msg}, nil
}

func parseJSON(data []byte) (line, error) {
	var l struct {
		Time  time.Time `json:"time"`
		Level string    `json:"level"`
		Msg   string    `json:"msg"`
	}
	if err := plainjson.Unmarshal(data, &l); err != nil {
		return line{}, err
	}
	if l.Time.IsZero() || l.Level == "" || l.Msg == "" {
		return line{}, errNoLine
	}
	return line{l.Time.UTC(), l.Level, l.Msg}, nil
}

var (
	creating = regexp.MustCompile(`^Calling POST (?:/v[0-9.]+)?/containers/([^/?]+)/exec$`)
	calling  = regexp.MustCompile(`^Calling POST (?:/v[0-9.]+)?/exec/([0-9a-f]{64})/start$`)
	starting = regexp.MustCompile(`^starting exec command ([0-9a-f]{64}) in container ([0-9a-f]{64})$`)
)

// Record reads one line.
func (r *Reader) Record(data []byte) ([]event.Observation, error) {
	l, err := parse(data)
	if err != nil {
		return nil, err
	}
	if m := creating.FindStringSubmatch(l.msg); m != nil {
		r.asked++
		r.mixed = r.mixed || r.asked > 1
		r.last, r.body = request{ref: m[1]}, true
		return nil, nil
	}
	if form, ok := strings.CutPrefix(l.msg, "form data: "); ok {
		if r.body {
			r.body = false
			return nil, r.last.take(form)
		}
		return nil, nil
	}
	r.body = r.body && !strings.HasPrefix(l.msg, "Calling ")
	if m := calling.FindStringSubmatch(l.msg); m != nil {
		r.clients = remember(r.clients, m[1])
		return nil, nil
	}
	if m := starting.FindStringSubmatch(l.msg); m != nil {
		return r.start(l.time, m[1], m[2]), nil
	}
	r.other++
	return nil, nil
}

// take reads the body of an exec create.
func (q *request) take(form string) error {
	var body struct {
		Cmd        []string
		User       string
		TTY        bool `json:"Tty"`
		Privileged bool
	}
	if err := json.Unmarshal([]byte(form), &body); err != nil {
		return err
	}
	q.argv, q.user, q.tty, q.privileged, q.read = body.Cmd, body.User, body.TTY, body.Privileged, true
	return nil
}

// start reports an exec that was started.
func (r *Reader) start(at time.Time, id, container string) []event.Observation {
	var out []event.Observation
	head := event.Header{Time: at, Witness: event.WitnessDockerLog}
	if !r.greeted {
		r.greeted = true
		out = append(out, event.WitnessState{
			Header: head, From: at, Up: true, Partial: true, NoExits: true, Lacks: []string{"who asked", "pids", "ends of commands"},
		})
	}
	if r.started[id] {
		return out
	}
	r.started = remember(r.started, id)
	out = append(out, event.DockerEvent{
		Header: head, Action: event.DockerExecStart, Container: event.ContainerID(container), ExecID: event.ExecID(id),
	})
	if !r.clients[id] {
		return out // the daemon did it by itself: a health check
	}
	if q := r.last; r.asked == 1 && !r.mixed && q.read && q.argv != nil && q.fits(container) {
		out = append(out, event.DockerExec{
			Header: head, ID: event.ExecID(id), Container: event.ContainerID(container), Argv: q.argv, TTY: q.tty,
			User: q.user, Privileged: q.privileged, Running: true,
		})
	}
	r.asked = max(0, r.asked-1)
	r.mixed = r.mixed && r.asked > 0
	return out
}

// remember adds id to a set of bounded size.
func remember(set map[string]bool, id string) map[string]bool {
	if len(set) >= startedMax {
		clear(set)
	}
	set[id] = true
	return set
}

// fits reports whether the container can be the one that was asked for: a name
// may be anything.
func (q *request) fits(container string) bool {
	return strings.Trim(q.ref, "0123456789abcdef") != "" || len(q.ref) < 4 || strings.HasPrefix(container, q.ref)
}
