package store

import (
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/jsonform"
)

// appendLine appends the wire form of an observation. The kinds that come by the
// thousand, those of processes and of requests to the API server, are put
// together by hand, because encoding/json takes ten times as long; the bytes are
// those of event.Marshal (TestLineIsTheWireForm). Rare strings are left to it.
func appendLine(b []byte, o event.Observation) ([]byte, error) {
	l := line{Writer: jsonform.Writer{B: b}, plain: true}
	switch o := o.(type) {
	case event.ProcessExec:
		l.exec(&o)
	case event.ProcessFork:
		l.fork(&o)
	case event.ProcessExit:
		l.exit(&o)
	case event.KubeRequest:
		l.kubeRequest(&o)
	default:
		l.plain = false
	}
	if l.plain && l.Err == nil {
		return append(l.B, "}}"...), nil
	}
	wire, err := event.Marshal(o)
	return append(b, wire...), err
}

// line is an observation that is being written. It is of no use once plain is
// false: then it holds something that only encoding/json knows how to write.
type line struct {
	jsonform.Writer
	plain bool
}

func (l *line) head(kind string, h event.Header) {
	l.B = append(append(append(l.B, `{"`...), kind...), `":{`...)
	l.Time("time", h.Time)
	l.Text("witness", string(h.Witness))
	l.SomeText("node", h.Node)
}

func (l *line) exec(o *event.ProcessExec) {
	l.head("process_exec", o.Header)
	l.process("id", o.ID)
	l.process("parent", o.Parent)
	if !o.Entry.IsZero() {
		l.process("entry", o.Entry)
	}
	l.SomeText("container", string(o.Container))
	l.SomeUint("ns_pid", uint64(o.NSPID))
	l.exact("filename", string(o.Filename))
	l.argv(&o.Argv)
	l.executable(&o.Exe)
	l.cred(&o.Cred)
	l.SomeText("tty", o.TTY)
	l.SomeText("cgroup", o.Cgroup)
}

func (l *line) fork(o *event.ProcessFork) {
	l.head("process_fork", o.Header)
	l.process("id", o.ID)
	l.process("parent", o.Parent)
	l.process("entry", o.Entry)
	l.SomeUint("ns_pid", uint64(o.NSPID))
	l.exact("comm", string(o.Comm))
	l.cred(&o.Cred)
}

func (l *line) exit(o *event.ProcessExit) {
	l.head("process_exit", o.Header)
	l.process("id", o.ID)
	if !o.Entry.IsZero() {
		l.process("entry", o.Entry)
	}
	l.Int("code", int64(o.Code))
	l.SomeInt("signal", int64(o.Signal))
	l.SomeBool("no_code", o.NoCode)
}

func (l *line) process(name string, id event.ProcessID) {
	l.Name(name)
	l.Begin()
	l.Uint("pid", uint64(id.PID))
	l.Uint("start", id.Start)
	l.End()
}

func (l *line) cred(c *event.Cred) {
	l.Name("cred")
	l.Begin()
	l.Uint("uid", uint64(c.UID))
	l.Uint("gid", uint64(c.GID))
	if c.LoginUID != nil {
		l.Uint("login_uid", uint64(*c.LoginUID))
	}
	if c.AuditSession != nil {
		l.Uint("audit_session", uint64(*c.AuditSession))
	}
	l.SomeBool("no_uid", c.NoUID)
	l.SomeBool("no_gid", c.NoGID)
	l.SomeText("user", c.User)
	l.End()
}

func (l *line) argv(a *event.Argv) {
	for _, arg := range a.Args {
		l.plain = l.plain && utf8.ValidString(arg)
	}
	l.Name("argv")
	l.Begin()
	l.SomeTexts("args", a.Args)
	l.SomeUint("bytes", uint64(a.Bytes))
	l.SomeBool("truncated", a.Truncated)
	l.SomeUint("hash", a.Hash)
	l.SomeBool("joined", a.Joined)
	l.End()
}

func (l *line) executable(x *event.Executable) {
	l.Name("exe")
	l.Begin()
	l.exact("path", string(x.Path))
	l.SomeUint("device", x.Device)
	l.SomeUint("inode", x.Inode)
	l.SomeBool("upper_layer", x.UpperLayer)
	l.SomeBool("memfd", x.Memfd)
	l.End()
}

// exact writes an event.Text, which keeps what is not UTF-8 in another form.
func (l *line) exact(name, s string) {
	l.plain = l.plain && utf8.ValidString(s)
	l.SomeText(name, s)
}
