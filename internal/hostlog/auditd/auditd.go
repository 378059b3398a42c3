// Package auditd reads the log of the Linux audit daemon, raw or enriched: one
// record a line, several records an event.
//
// Source: the kernel, kernel/auditsc.c (audit_log_execve_info, audit_log_exit)
// and lib of audit-userspace: "type=T msg=audit(SECONDS.MILLISECONDS:SERIAL):
// key=value …". Strings are quoted, or in hexadecimal when they hold a quote, a
// blank or a control character; an argument of a long list comes in pieces
// (a1_len=…, a1[0]=…), a long list in several EXECVE records. log_format=ENRICHED
// puts a 0x1d and names of the host in front of the line's end, name_format a
// "node=NAME" in front of its beginning. Records of different events interleave.
//
// What it tells, with a rule for execve: argv as a list, byte-exact, pid and
// ppid, uid, gid, login uid and session, terminal, executable; time in
// milliseconds. What it does not tell: containers. They are read from the command
// lines of the runtime and the shim that are a process's parents, where those are
// in the log, and unknown else. Ends of processes are told only with a rule for
// exit_group. A process is its pid: one that is used again by the same parent
// looks like the same process.
package auditd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/lineage"
	"github.com/sallyport/sallyport/internal/lib/logfile"
)

// The shapes are compiled when there is a log: most commands read none.
var (
	shape       = lazily(`^(?:node=([!-~]{1,255}) )?type=(\S+) msg=audit\((\d{1,12})\.(\d{3}):(\d{1,12})\):`)
	interpreted = lazily(`^(?:node=\S+ )?type=\S+ msg=audit\([^)]*[^0-9.:)][^)]*\) ?:`)
)

func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// Sniff reports whether a record is of an audit log, also of one that Record
// refuses.
func Sniff(record []byte) bool { return shape().Match(record) || interpreted().Match(record) }

// Reader makes observations of one log. It is not safe for concurrent use.
type Reader struct {
	tracker *lineage.Tracker
	events  map[id]*syscall
	queue   []*syscall // in order of time and serial
	newest  time.Time
	other   int
}

// New returns a reader.
func New() *Reader {
	return &Reader{
		tracker: lineage.New(event.WitnessState{
			Header: event.Header{Witness: event.WitnessAuditd}, NoExits: true, Precision: event.Duration(time.Millisecond),
			Lacks: []string{"containers, unless a runtime's command line names them", "ends of processes, unless there is a rule for exit_group"},
		}),
		events: map[id]*syscall{},
	}
}

// Inside counts programs in containers whose way in the log does not show.
func (r *Reader) Inside() int { return r.tracker.Inside }

// Other counts events that are no starts or ends of processes.
func (r *Reader) Other() int { return r.other }

// id names an event.
type id struct {
	node   string
	time   int64 // in milliseconds
	serial int64
}

// ErrInterpreted says that a log is the output of ausearch -i, in which names
// stand for numbers and quoting is lost.
var ErrInterpreted = fmt.Errorf("the output of ausearch -i is %w, as it cannot be read back: give the log itself, or ausearch --raw", logfile.ErrRefused)

var errShape = errors.New("no audit record")

const (
	// timeout is how long an event waits for its records, as in auparse(3).
	timeout = 2 * time.Second
	// pendingMax bounds the events that wait.
	pendingMax = 1024
)

// Record reads one record; it returns what the events that are complete by now
// amount to.
func (r *Reader) Record(line []byte) ([]event.Observation, error) {
	m := shape().FindSubmatchIndex(line)
	if m == nil {
		if interpreted().Match(line) {
			return nil, ErrInterpreted
		}
		return nil, errShape
	}
	part := func(i int) []byte {
		if m[2*i] < 0 {
			return nil
		}
		return line[m[2*i]:m[2*i+1]]
	}
	at := timeOf(part(3), part(4))
	if at.After(r.newest) {
		r.newest = at
	}
	serial, err := strconv.ParseInt(string(part(5)), 10, 64)
	if err != nil {
		return nil, errShape
	}
	key := id{string(part(1)), at.UnixMilli(), serial}
	body, _, _ := bytes.Cut(line[m[1]:], []byte{0x1d})
	err = r.take(key, at, string(part(2)), body)
	return r.ready(false), err
}

// take adds a record to its event.
func (r *Reader) take(key id, at time.Time, kind string, body []byte) error {
	e := r.events[key]
	switch kind {
	case "SYSCALL", "EXECVE", "PATH":
		if e == nil {
			e = &syscall{id: key, at: at}
			r.events[key] = e
			i, _ := slices.BinarySearchFunc(r.queue, e, func(a, b *syscall) int {
				return cmp.Or(cmp.Compare(a.id.time, b.id.time), cmp.Compare(a.id.serial, b.id.serial))
			})
			r.queue = slices.Insert(r.queue, i, e)
		}
		return e.record(kind, body)
	case "PROCTITLE", "EOE": // the last records of an event
		if e != nil {
			e.complete = true
		}
	}
	return nil
}

// ready takes the events off the queue that are complete, or all, in order.
func (r *Reader) ready(all bool) []event.Observation {
	var out []event.Observation
	for len(r.queue) > 0 {
		e := r.queue[0]
		if !all && !e.complete && len(r.queue) <= pendingMax && r.newest.Sub(e.at) < timeout {
			break
		}
		r.queue[0] = nil
		r.queue = r.queue[1:]
		delete(r.events, e.id)
		out = append(out, r.event(e)...)
	}
	return out
}

// End returns what the events amount to that wait for records when the log ends.
func (r *Reader) End() []event.Observation { return r.ready(true) }

func (r *Reader) event(e *syscall) []event.Observation {
	switch {
	case e.executed():
		return r.tracker.Exec(e.seen())
	case e.exited():
		return r.tracker.Exit(e.at, e.id.node, "", e.pid, e.status(), 0)
	}
	r.other++
	return nil
}

func timeOf(seconds, millis []byte) time.Time {
	n := int64(0)
	for _, c := range seconds {
		n = 10*n + int64(c-'0')
	}
	ms := int64(0)
	for _, c := range millis {
		ms = 10*ms + int64(c-'0')
	}
	return time.Unix(n, ms*int64(time.Millisecond)).UTC()
}
