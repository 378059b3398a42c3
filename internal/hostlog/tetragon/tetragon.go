// Package tetragon reads what Tetragon exports: one JSON object a line, with a
// process_exec or process_exit, as in its file log or `tetra getevents`.
//
// Source: cilium/tetragon, api/v1/tetragon/tetragon.proto (fields and their
// meaning), docs/content/en/docs/concepts/events.md (an exported event),
// pkg/process/process.go and args.go (exec_id, binary, arguments).
//
// What it tells: pid, uid and login uid, the parents, the container and pod, the
// pid in the container, whether the process descends from the container's first
// process (in_init_tree), the end with its status. What it does not tell:
// argv[0] and where one argument ends (arguments are joined with blanks, those
// that contain one in quotes that are not escaped), the group, the terminal, and
// what export filters, throttling or a full buffer left out. The time that
// identifies a process (exec_id) is of its last execve by a clock of the
// kernel's own, and is not compared with anything. A container is named by the 31
// first digits of its id, unless its pod names the whole.
package tetragon

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/lineage"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// Sniff reports whether a record is of Tetragon's export.
func Sniff(record []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(record), []byte(`{"process_`)) && bytes.Contains(record, []byte(`"exec_id"`))
}

// Reader makes observations of one export. It is not safe for concurrent use.
type Reader struct {
	tracker *lineage.Tracker
	other   int
	whole   map[string]event.ContainerID // by the digits that "docker" has
}

// New returns a reader.
func New() *Reader {
	return &Reader{
		tracker: lineage.New(event.WitnessState{
			Header: event.Header{Witness: event.WitnessTetragon}, NoExits: true, // filters may leave them out
			Lacks: []string{"argv[0]", "where one argument ends", "groups", "terminals"},
		}),
		whole: map[string]event.ContainerID{},
	}
}

// Inside counts programs in containers whose way in the export does not show;
// Other counts events that are no starts or ends of processes.
func (r *Reader) Inside() int { return r.tracker.Inside }

// Other counts events that are about something else.
func (r *Reader) Other() int { return r.other }

type record struct {
	Exec *struct {
		Process   *process  `json:"process"`
		Parent    *process  `json:"parent"`
		Ancestors []process `json:"ancestors"`
	} `json:"process_exec"`
	Exit *struct {
		Process *process `json:"process"`
		Signal  string   `json:"signal"`
		Status  int      `json:"status"`
	} `json:"process_exit"`
	Node string    `json:"node_name"`
	Time time.Time `json:"time"`
}

type process struct {
	ExecID       string     `json:"exec_id"`
	PID          uint32     `json:"pid"`
	UID          *uint32    `json:"uid"`
	Binary       string     `json:"binary"`
	Arguments    string     `json:"arguments"`
	Flags        string     `json:"flags"`
	StartTime    *time.Time `json:"start_time"`
	AUID         *uint32    `json:"auid"`
	Pod          *pod       `json:"pod"`
	Docker       string     `json:"docker"`
	ParentExecID string     `json:"parent_exec_id"`
	InInitTree   *bool      `json:"in_init_tree"`
	User         *struct {
		Name string `json:"name"`
	} `json:"user"`
}

type pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Container *struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Image struct {
			Name string `json:"name"`
		} `json:"image"`
		PID uint32 `json:"pid"`
	} `json:"container"`
}

var errNoProcess = errors.New("an event without exec_id, pid and time")

// Record reads one record. Events about anything but the start and the end of
// processes give nothing.
func (r *Reader) Record(data []byte) ([]event.Observation, error) {
	if !bytes.Contains(data, []byte(`"process_exec"`)) && !bytes.Contains(data, []byte(`"process_exit"`)) {
		err := valid(data)
		if err == nil {
			r.other++
		}
		return nil, err
	}
	var rec record
	if err := plainjson.Unmarshal(data, &rec); err != nil {
		return nil, err
	}
	switch {
	case rec.Exec != nil && rec.Exit == nil:
		if !rec.Exec.Process.known() || rec.Time.IsZero() {
			return nil, errNoProcess
		}
		return r.exec(&rec), nil
	case rec.Exit != nil && rec.Exec == nil:
		if !rec.Exit.Process.known() || rec.Time.IsZero() {
			return nil, errNoProcess
		}
		return r.exit(&rec)
	}
	r.other++
	return nil, nil
}

func valid(data []byte) error {
	var any map[string]any
	return plainjson.Unmarshal(data, &any)
}

func (p *process) known() bool { return p != nil && p.ExecID != "" && p.PID != 0 }

func (r *Reader) exec(rec *record) []event.Observation {
	p := rec.Exec.Process
	at := rec.Time
	if p.StartTime != nil && !strings.Contains(p.Flags, "procFS") {
		at = *p.StartTime
	}
	s := lineage.Seen{
		Time: at.UTC(), Node: rec.Node, Key: p.ExecID, ParentKey: p.ParentExecID, PID: p.PID,
		Place: p.place(), Container: r.container(p), Injected: p.InInitTree != nil && !*p.InInitTree && p.Docker != "",
		Filename: event.Text(p.Binary), Argv: p.argv(), Exe: event.Executable{Path: event.Text(p.Binary)}, Cred: p.cred(),
	}
	if p.Pod != nil && p.Pod.Container != nil {
		s.NSPID = p.Pod.Container.PID
	}
	if q := rec.Exec.Parent; q.known() {
		s.PPID = q.PID
		s.ParentKey = cmp.Or(s.ParentKey, q.ExecID)
		s.Parents = append(s.Parents, r.parent(q))
		for i := range rec.Exec.Ancestors {
			s.Parents = append(s.Parents, r.parent(&rec.Exec.Ancestors[i]))
		}
	}
	return append(r.contained(s.Time, rec.Node, p), r.tracker.Exec(s)...)
}

func (r *Reader) exit(rec *record) ([]event.Observation, error) {
	x := rec.Exit
	signal, code := signals[x.Signal], x.Status
	if x.Signal != "" && signal == 0 {
		return nil, fmt.Errorf("unknown signal %.20q", x.Signal)
	}
	if signal != 0 {
		code = 128 + signal
	}
	return r.tracker.Exit(rec.Time.UTC(), rec.Node, x.Process.ExecID, x.Process.PID, &code, signal), nil
}

func (r *Reader) parent(p *process) lineage.Parent {
	out := lineage.Parent{
		Ancestor: event.Ancestor{Exe: event.Text(p.Binary), Argv: p.argv(), Cred: p.cred()},
		Place:    p.place(), Container: r.container(p),
	}
	if p.StartTime != nil {
		out.ID = event.LoggedProcess(p.PID, *p.StartTime)
	}
	return out
}

// place is in a container when the cgroup is a container's, which is where
// "docker" comes from.
func (p *process) place() lineage.Place {
	if p.Docker != "" || p.Pod != nil {
		return lineage.Inside
	}
	return lineage.Host
}

// container returns the whole id where a pod tells it ("containerd://ID"), here
// or in an earlier event.
func (r *Reader) container(p *process) event.ContainerID {
	if p.Pod != nil && p.Pod.Container != nil {
		if _, id, ok := strings.Cut(p.Pod.Container.ID, "://"); ok {
			if p.Docker != "" && strings.HasPrefix(id, p.Docker) && len(r.whole) < wholeMax {
				r.whole[p.Docker] = event.ContainerID(id)
			}
			return event.ContainerID(id)
		}
	}
	return cmp.Or(r.whole[p.Docker], event.ContainerID(p.Docker))
}

const wholeMax = 1 << 14

func (r *Reader) contained(at time.Time, node string, p *process) []event.Observation {
	c := lineage.Container{ID: r.container(p), Node: node}
	if p.Pod != nil {
		c.Pod, c.Namespace, c.UID = p.Pod.Name, p.Pod.Namespace, p.Pod.UID
		if k := p.Pod.Container; k != nil {
			c.Name, c.Image = k.Name, k.Image.Name
		}
	}
	return r.tracker.Contained(at, c)
}

// argv is the program's path and the arguments behind argv[0], joined.
func (p *process) argv() event.Argv {
	joined := p.Binary
	if p.Arguments != "" {
		joined += " " + strings.TrimPrefix(p.Arguments, " ")
	}
	return event.Argv{Args: []string{joined}, Joined: true, Truncated: strings.Contains(p.Flags, "truncArgs")}
}

// unset is what audit calls a uid that is not set.
const unset = 1<<32 - 1

func (p *process) cred() event.Cred {
	c := event.Cred{NoUID: p.UID == nil, NoGID: true}
	if p.UID != nil {
		c.UID = *p.UID
	} else if p.User != nil {
		c.User = p.User.Name
	}
	if p.AUID != nil && *p.AUID != unset {
		c.LoginUID = p.AUID
	}
	return c
}
