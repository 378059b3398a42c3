package store

import (
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// appendLine appends the wire form of an observation. The three kinds that
// every process brings are put together by hand, because encoding/json takes
// ten times as long and a storm of processes brings many; the bytes are those
// of event.Marshal (TestLineIsTheWireForm). Rare strings are left to it.
func appendLine(b []byte, o event.Observation) ([]byte, error) {
	l := line{b: b, plain: true}
	switch o := o.(type) {
	case event.ProcessExec:
		l.exec(&o)
	case event.ProcessFork:
		l.fork(&o)
	case event.ProcessExit:
		l.exit(&o)
	default:
		l.plain = false
	}
	if l.plain {
		return append(l.b, "}}"...), nil
	}
	wire, err := event.Marshal(o)
	return append(b, wire...), err
}

// line is an observation that is being written. It is of no use once plain is
// false: then it holds something that only encoding/json knows how to write.
type line struct {
	b     []byte
	plain bool
}

func (l *line) head(kind string, h event.Header) {
	l.b = append(append(append(l.b, `{"`...), kind...), `":{"time":"`...)
	if y := h.Time.Year(); y < 1970 || y > 9999 {
		l.plain = false
	}
	l.b = h.Time.AppendFormat(l.b, time.RFC3339Nano)
	l.b = append(l.b, `","witness":`...)
	l.quote(string(h.Witness))
}

func (l *line) exec(o *event.ProcessExec) {
	l.head("process_exec", o.Header)
	l.process("id", o.ID)
	l.process("parent", o.Parent)
	if !o.Entry.IsZero() {
		l.process("entry", o.Entry)
	}
	l.text("container", string(o.Container))
	l.count("ns_pid", uint64(o.NSPID))
	l.text("filename", string(o.Filename))
	l.argv(&o.Argv)
	l.executable(&o.Exe)
	l.cred(&o.Cred)
	l.text("tty", o.TTY)
	l.text("cgroup", o.Cgroup)
}

func (l *line) fork(o *event.ProcessFork) {
	l.head("process_fork", o.Header)
	l.process("id", o.ID)
	l.process("parent", o.Parent)
	l.process("entry", o.Entry)
	l.count("ns_pid", uint64(o.NSPID))
	l.text("comm", string(o.Comm))
	l.cred(&o.Cred)
}

func (l *line) exit(o *event.ProcessExit) {
	l.head("process_exit", o.Header)
	l.process("id", o.ID)
	if !o.Entry.IsZero() {
		l.process("entry", o.Entry)
	}
	l.name("code")
	l.b = strconv.AppendInt(l.b, int64(o.Code), 10)
	if o.Signal != 0 {
		l.name("signal")
		l.b = strconv.AppendInt(l.b, int64(o.Signal), 10)
	}
}

func (l *line) process(name string, id event.ProcessID) {
	l.name(name)
	l.b = append(l.b, '{')
	l.number("pid", uint64(id.PID))
	l.number("start", id.Start)
	l.b = append(l.b, '}')
}

func (l *line) cred(c *event.Cred) {
	l.name("cred")
	l.b = append(l.b, '{')
	l.number("uid", uint64(c.UID))
	l.number("gid", uint64(c.GID))
	if c.LoginUID != nil {
		l.number("login_uid", uint64(*c.LoginUID))
	}
	if c.AuditSession != nil {
		l.number("audit_session", uint64(*c.AuditSession))
	}
	l.b = append(l.b, '}')
}

func (l *line) argv(a *event.Argv) {
	l.name("argv")
	l.b = append(l.b, '{')
	if len(a.Args) > 0 {
		l.name("args")
		l.b = append(l.b, '[')
		for i, arg := range a.Args {
			if i > 0 {
				l.b = append(l.b, ',')
			}
			l.quote(arg)
		}
		l.b = append(l.b, ']')
	}
	l.count("bytes", uint64(a.Bytes))
	l.flag("truncated", a.Truncated)
	l.count("hash", a.Hash)
	l.b = append(l.b, '}')
}

func (l *line) executable(x *event.Executable) {
	l.name("exe")
	l.b = append(l.b, '{')
	l.text("path", string(x.Path))
	l.count("device", x.Device)
	l.count("inode", x.Inode)
	l.flag("upper_layer", x.UpperLayer)
	l.flag("memfd", x.Memfd)
	l.b = append(l.b, '}')
}

// name begins a field.
func (l *line) name(name string) {
	if l.b[len(l.b)-1] != '{' {
		l.b = append(l.b, ',')
	}
	l.b = append(append(append(l.b, '"'), name...), `":`...)
}

func (l *line) number(name string, n uint64) {
	l.name(name)
	l.b = strconv.AppendUint(l.b, n, 10)
}

// count, text and flag write a field that is left out when it is empty.
func (l *line) count(name string, n uint64) {
	if n != 0 {
		l.number(name, n)
	}
}

func (l *line) text(name, s string) {
	if s != "" {
		l.name(name)
		l.quote(s)
	}
}

func (l *line) flag(name string, set bool) {
	if set {
		l.name(name)
		l.b = append(l.b, "true"...)
	}
}

// quote writes a string that stands for itself in JSON as encoding/json writes
// it: ASCII, and nothing that it escapes.
func (l *line) quote(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			l.plain = false
			return
		}
	}
	l.b = append(append(append(l.b, '"'), s...), '"')
}
