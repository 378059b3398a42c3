package session

import (
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/jsonform"
)

// writer writes what sessionJSON and the types in it describe, without
// encoding/json: a store writes each revision (TestAppendJSONIsTheWireForm).
type writer struct{ jsonform.Writer }

// AppendJSON appends the JSON form of s to b. The only error is a time that
// RFC 3339 cannot write.
func (s *Session) AppendJSON(b []byte) ([]byte, error) {
	w := writer{jsonform.Writer{B: b}}
	w.session(s)
	if w.Err != nil {
		return b, w.Err
	}
	return w.B, nil
}

// MarshalJSON implements json.Marshaler.
func (s Session) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil) }

// MarshalJSON implements json.Marshaler.
func (a Actor) MarshalJSON() ([]byte, error) {
	var w writer
	w.actor(&a)
	return w.B, w.Err
}

// MarshalJSON implements json.Marshaler.
func (p Process) MarshalJSON() ([]byte, error) {
	var w writer
	w.process(&p)
	return w.B, w.Err
}

// MarshalJSON implements json.Marshaler.
func (p Program) MarshalJSON() ([]byte, error) {
	var w writer
	w.program(&p)
	return w.B, w.Err
}

func (w *writer) session(s *Session) {
	w.Begin()
	w.Text("id", string(s.ID))
	w.Uint("revision", uint64(s.Revision))
	w.Text("kind", string(s.Kind))
	w.Text("channel", string(s.Channel))
	w.Text("state", string(s.State))
	if s.Created != nil {
		w.Time("created", *s.Created)
	}
	w.Time("started", s.Started)
	if s.Ended != nil {
		w.Time("ended", *s.Ended)
	}
	w.exitCode(s.ExitCode)
	w.target(&s.Target)
	w.SomeText("argv_source", s.ArgvSource)
	w.Bool("tty", s.TTY)
	if s.Stdin != nil {
		w.Bool("stdin", *s.Stdin)
	}
	w.SomeText("user", s.User)
	w.SomeBool("privileged", s.Privileged)
	w.SomeText("path", s.Path)
	w.SomeText("direction", s.Direction)
	jsonform.SomeList(&w.Writer, "carried", s.Carried, w.carried)
	s.Settings.write(&w.Writer)
	if s.Decision != nil {
		w.decision(s.Decision)
	}
	w.SomeInt("processes_total", int64(s.ProcessesTotal))
	w.unexplained(&s.Unexplained)
	w.Uint("lost_records", s.LostRecords)
	w.SomeTexts("gaps", s.Gaps)
	w.SomeText("audit_id", string(s.AuditID))
	w.SomeText("verb", s.Verb)
	w.SomeText("exec_id", string(s.ExecID))
	w.SomeText("superseded_by", string(s.SupersededBy))
	jsonform.SomeList(&w.Writer, "evidence", s.Evidence, w.evidence)
	w.argv(s.Argv)
	w.SomeText("path_base64", exact(s.Path))
	w.Name("actor")
	w.actor(&s.Actor)
	w.attribution(&s.Attribution)
	jsonform.SomeList(&w.Writer, "processes", s.Processes, w.process)
	w.End()
}

func (w *writer) target(t *Target) {
	w.Name("target")
	w.Begin()
	w.SomeText("container_id", string(t.ContainerID))
	w.SomeText("container_name", t.ContainerName)
	w.SomeText("image", t.Image)
	w.SomeText("image_id", t.ImageID)
	w.SomeText("runtime", t.Runtime)
	w.Map("labels", t.Labels)
	w.SomeText("pod", t.Pod)
	w.SomeText("pod_uid", t.PodUID)
	w.SomeText("namespace", t.Namespace)
	w.SomeText("workload", t.Workload)
	w.SomeText("node", t.Node)
	t.HostAccess.Write(&w.Writer, "host_access")
	w.End()
}

func (w *writer) carried(c *Carried) {
	w.Begin()
	w.Text("place", string(c.Place))
	w.SomeText("container", c.Container)
	w.SomeText("name", c.Name)
	w.SomeTexts("argv", c.Argv)
	w.End()
}

func (w *writer) decision(d *Decision) {
	w.Name("decision")
	w.Begin()
	w.Text("effect", string(d.Effect))
	w.SomeText("rule", d.Rule)
	w.SomeText("message", d.Message)
	w.SomeText("approver", d.Approver)
	w.Bool("stopped", d.Stopped)
	w.End()
}

func (w *writer) unexplained(u *Unexplained) {
	w.Name("unexplained")
	w.Begin()
	w.Bool("is", u.Is)
	w.SomeText("reason", u.Reason)
	w.End()
}

func (w *writer) evidence(v *Evidence) {
	w.Begin()
	w.Time("time", v.Time)
	w.Text("witness", string(v.Witness))
	w.Text("what", v.What)
	w.SomeText("detail", v.Detail)
	w.End()
}

func (w *writer) attribution(a *Attribution) {
	w.Name("attribution")
	w.Begin()
	w.Text("level", string(a.Level))
	w.SomeTexts("via", a.Via)
	jsonform.SomeList(&w.Writer, "candidates", a.Candidates, w.actor)
	w.End()
}

func (w *writer) actor(a *Actor) {
	w.Begin()
	w.Text("kind", string(a.Kind))
	w.SomeText("user", a.User)
	w.uid("uid", a.UID)
	w.uid("login_uid", a.LoginUID)
	w.SomeText("login_user", a.LoginUser)
	w.SomeUint("pid", uint64(a.PID))
	w.SomeText("exe", a.Exe)
	w.SomeText("address", a.Address)
	w.SomeText("service", string(a.Service))
	w.SomeText("user_agent", a.UserAgent)
	if !a.Process.IsZero() {
		w.Name("process")
		w.Begin()
		w.Uint("pid", uint64(a.Process.PID))
		w.Uint("start", a.Process.Start)
		w.End()
	}
	w.SomeText("container", string(a.Container))
	w.SomeText("session", string(a.Session))
	w.SomeTexts("names", a.Names)
	w.SomeText("kubernetes_uid", a.KubeUID)
	w.SomeTexts("groups", a.Groups)
	w.Lists("extra", a.Extra)
	if a.Impersonator != nil {
		w.identity(a.Impersonator)
	}
	w.SomeBool("deputy", a.Deputy)
	w.SomeTexts("doubts", a.Doubts)
	w.argv(a.Argv)
	w.SomeText("exe_base64", exact(a.Exe))
	w.End()
}

func (w *writer) identity(i *Identity) {
	w.Name("impersonator")
	w.Begin()
	w.Text("user", i.User)
	w.SomeText("uid", i.UID)
	w.SomeTexts("groups", i.Groups)
	w.Lists("extra", i.Extra)
	w.End()
}

func (w *writer) process(p *Process) {
	w.Begin()
	w.SomeUint("pid", uint64(p.PID))
	w.SomeUint("ppid", uint64(p.PPID))
	w.SomeUint("ns_pid", uint64(p.NSPID))
	w.Time("start", p.Start)
	if p.End != nil {
		w.Time("end", *p.End)
	}
	w.SomeBool("argv_joined", p.ArgvJoined)
	w.SomeUint("argv_bytes", uint64(p.ArgvBytes))
	w.SomeText("argv_hash", p.ArgvHash)
	w.SomeText("exe", p.Exe)
	w.SomeText("filename", p.Filename)
	w.SomeUint("inode", p.Inode)
	w.SomeBool("upper_layer", p.UpperLayer)
	w.SomeBool("memfd", p.Memfd)
	w.SomeText("user_name", p.UserName)
	w.SomeText("tty", p.TTY)
	w.exitCode(p.ExitCode)
	w.SomeInt("signal", int64(p.Signal))
	w.SomeBool("forked", p.Forked)
	w.argv(p.Argv)
	if p.ID.Logged() {
		w.SomeUint("start_logged", p.ID.Start)
	} else {
		w.SomeUint("start_boot", p.ID.Start)
	}
	if !p.NoUID {
		w.Uint("uid", uint64(p.UID))
	}
	if !p.NoGID {
		w.Uint("gid", uint64(p.GID))
	}
	w.SomeText("exe_base64", exact(p.Exe))
	w.SomeText("filename_base64", exact(p.Filename))
	jsonform.SomeList(&w.Writer, "execs", p.Execs, w.program)
	w.End()
}

func (w *writer) program(p *Program) {
	w.Begin()
	w.Time("time", p.Time)
	w.SomeBool("argv_joined", p.ArgvJoined)
	w.SomeText("exe", p.Exe)
	w.argv(p.Argv)
	w.SomeText("exe_base64", exact(p.Exe))
	w.End()
}

func (w *writer) argv(args []string) {
	w.SomeTexts("argv", args)
	w.SomeTexts("argv_base64", event.Base64Args(args))
}

func (w *writer) exitCode(code *int) {
	if code != nil {
		w.Int("exit_code", int64(*code))
	}
}

func (w *writer) uid(name string, id *uint32) {
	if id != nil {
		w.Uint(name, uint64(*id))
	}
}
