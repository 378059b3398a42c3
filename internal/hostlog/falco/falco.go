// Package falco reads Falco's alerts in JSON (json_output: true): one object an
// alert, as in its file, standard and HTTP output.
//
// Source: falcosecurity/falco, userspace/engine/formats.cpp (time in nanoseconds,
// rule, source, hostname, output_fields), and "Supported Fields for Conditions
// and Outputs" of Falco's documentation (the fields' meaning). "<NA>" and null
// stand for what Falco does not know.
//
// What an alert tells is what its rule prints. With evt.type an execve, it is
// the start of a program: proc.cmdline (the process's name and its arguments,
// joined with blanks), proc.exepath, proc.pname, user.uid, user.loginuid,
// proc.tty, container.id (12 digits), container.name and image, k8s.ns.name and
// k8s.pod.name are in the stock rules, proc.pid, proc.ppid and proc.vpid are not.
// Add them (append_output) for process trees. Alerts about anything else, and of
// other sources than system calls, tell of no start and give nothing; ends of
// processes are never told.
package falco

import (
	"cmp"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/lineage"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// Sniff reports whether a record is an alert of Falco's.
func Sniff(record []byte) bool {
	var rec alert
	return json.Unmarshal(record, &rec) == nil && rec.Rule != "" && rec.Priority != "" && !rec.Time.IsZero()
}

// Reader makes observations of one file of alerts. It is not safe for
// concurrent use.
type Reader struct {
	tracker *lineage.Tracker
	other   int
}

// New returns a reader.
func New() *Reader {
	return &Reader{tracker: lineage.New(event.WitnessState{
		Header: event.Header{Witness: event.WitnessFalco}, NoExits: true,
		Lacks: []string{"ends of processes", "argv[0]", "where one argument ends", "what no rule matches"},
	})}
}

// Inside counts programs in containers whose way in the alerts do not show.
func (r *Reader) Inside() int { return r.tracker.Inside }

// Other counts alerts that are about something else than the start of a program.
func (r *Reader) Other() int { return r.other }

type alert struct {
	Time     time.Time `json:"time"`
	Rule     string    `json:"rule"`
	Priority string    `json:"priority"`
	Source   string    `json:"source"`
	Hostname string    `json:"hostname"`
	Fields   fields    `json:"output_fields"`
}

type fields struct {
	Type       text   `json:"evt.type"`
	Container  text   `json:"container.id"`
	FullID     text   `json:"container.full_id"`
	Name       text   `json:"container.name"`
	Repository text   `json:"container.image.repository"`
	Tag        text   `json:"container.image.tag"`
	Namespace  text   `json:"k8s.ns.name"`
	Pod        text   `json:"k8s.pod.name"`
	PodUID     text   `json:"k8s.pod.uid"`
	PID        number `json:"proc.pid"`
	PPID       number `json:"proc.ppid"`
	VPID       number `json:"proc.vpid"`
	ProcName   text   `json:"proc.name"`
	ExePath    text   `json:"proc.exepath"`
	CmdLine    text   `json:"proc.cmdline"`
	TTY        number `json:"proc.tty"`
	Inode      number `json:"proc.exe_ino"`
	Upper      truth  `json:"proc.is_exe_upper_layer"`
	Memfd      truth  `json:"proc.is_exe_from_memfd"`
	PName      text   `json:"proc.pname"`
	PExePath   text   `json:"proc.pexepath"`
	PCmdLine   text   `json:"proc.pcmdline"`
	Ancestor2  text   `json:"proc.aname[2]"`
	Ancestor3  text   `json:"proc.aname[3]"`
	Ancestor4  text   `json:"proc.aname[4]"`
	User       text   `json:"user.name"`
	UID        number `json:"user.uid"`
	LoginUID   number `json:"user.loginuid"`
	GID        number `json:"group.gid"`
}

// text is a string that Falco may not know.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if *t = ""; s != nil && *s != "<NA>" {
		*t = text(*s)
	}
	return nil
}

// number is one that Falco may not know; it comes as a number or in a string.
type number struct{ n *int64 }

func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if n.n = nil; s == "null" || s == "<NA>" || s == "" || s == `\u003cNA\u003e` {
		return nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	n.n = &v
	return err
}

// uint32 returns the number, 0 when it is not known or out of range.
func (n number) uint32() uint32 {
	if n.n == nil || *n.n < 0 || *n.n >= 1<<32-1 {
		return 0
	}
	return uint32(*n.n)
}

// truth comes as true and false, also in a string.
type truth bool

func (t *truth) UnmarshalJSON(b []byte) error {
	*t = strings.Trim(string(b), `"`) == "true"
	return nil
}

var errNoAlert = errors.New("no alert: rule, time or output_fields is missing")

// Record reads one alert.
func (r *Reader) Record(data []byte) ([]event.Observation, error) {
	var rec alert
	if err := plainjson.Unmarshal(data, &rec); err != nil {
		return nil, err
	}
	f := &rec.Fields
	switch {
	case rec.Rule == "" || rec.Time.IsZero():
		return nil, errNoAlert
	case rec.Source != "" && rec.Source != "syscall", f.Type != "execve" && f.Type != "execveat":
		r.other++
		return nil, nil
	}
	s := lineage.Seen{
		Time: rec.Time.UTC(), Node: rec.Hostname, PID: f.PID.uint32(), PPID: f.PPID.uint32(), NSPID: f.VPID.uint32(),
		Place: f.place(), Container: f.container(), Name: event.Text(f.ProcName), Argv: joined(f.CmdLine),
		Exe: event.Executable{
			Path: event.Text(f.ExePath), Inode: uint64(f.Inode.uint32()), UpperLayer: bool(f.Upper), Memfd: bool(f.Memfd),
		},
		Cred: f.cred(), TTY: f.tty(), Parents: f.parents(),
	}
	if s.Place != lineage.Inside {
		return r.tracker.Exec(s), nil
	}
	return append(r.tracker.Contained(s.Time, f.where(rec.Hostname)), r.tracker.Exec(s)...), nil
}

func (f *fields) place() lineage.Place {
	switch f.Container {
	case "host":
		return lineage.Host
	case "":
		return lineage.Unknown
	}
	return lineage.Inside
}

func (f *fields) container() event.ContainerID {
	if f.place() != lineage.Inside {
		return ""
	}
	return event.ContainerID(cmp.Or(f.FullID, f.Container))
}

func (f *fields) where(node string) lineage.Container {
	image := string(f.Repository)
	if image != "" && f.Tag != "" {
		image += ":" + string(f.Tag)
	}
	return lineage.Container{
		ID: f.container(), Name: string(f.Name), Image: image, Pod: string(f.Pod), Namespace: string(f.Namespace),
		UID: string(f.PodUID), Node: node,
	}
}

func (f *fields) parents() []lineage.Parent {
	if f.PName == "" && f.PExePath == "" {
		return nil
	}
	out := []lineage.Parent{{Ancestor: event.Ancestor{
		Comm: event.Text(f.PName), Exe: event.Text(f.PExePath), Argv: joined(f.PCmdLine), Cred: nobody,
	}}}
	for _, name := range []text{f.Ancestor2, f.Ancestor3, f.Ancestor4} {
		if name == "" {
			break
		}
		out = append(out, lineage.Parent{Ancestor: event.Ancestor{Comm: event.Text(name), Cred: nobody}})
	}
	return out
}

var nobody = event.Cred{NoUID: true, NoGID: true}

func (f *fields) cred() event.Cred {
	c := event.Cred{NoUID: f.UID.n == nil || *f.UID.n < 0, NoGID: f.GID.n == nil || *f.GID.n < 0}
	c.UID, c.GID = f.UID.uint32(), f.GID.uint32()
	if c.NoUID {
		c.User = string(f.User)
	}
	if n := f.LoginUID.n; n != nil && *n >= 0 && *n < 1<<32-1 {
		login := uint32(*n)
		c.LoginUID = &login
	}
	return c
}

// tty names a terminal by its device number: major 136 to 143 are pseudo
// terminals (Linux, admin-guide/devices.txt).
func (f *fields) tty() string {
	n := f.TTY.uint32()
	switch major := n >> 8 & 0xfff; {
	case n == 0:
		return ""
	case major >= 136 && major <= 143:
		return "pts/" + strconv.FormatUint(uint64(major-136)*256+uint64(n&0xff), 10)
	}
	return "tty " + strconv.FormatUint(uint64(n), 10)
}

func joined(line text) event.Argv {
	if line == "" {
		return event.Argv{}
	}
	return event.Argv{Args: []string{string(line)}, Joined: true}
}
