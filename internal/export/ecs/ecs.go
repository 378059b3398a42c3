// Package ecs writes records as documents of the Elastic Common Schema.
//
// A session is one document of category "session" and one of category
// "process" for each of its processes, with the session's root as
// process.entry_leader; a finding is a document of kind "alert". What has no
// place in the schema is under "sallyport". event.id is the same each time that
// the same thing is said again, so documents can be indexed under it.
package ecs

import (
	"encoding/json"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
)

// Version is the version of the schema.
const Version = "9.4.0"

// New returns the format.
func New(o export.Origin) export.Format {
	return export.Format{
		Name: "ecs", ContentType: "application/x-ndjson", End: "\n",
		Encode: func(r export.Record) ([][]byte, error) {
			docs := documents(o, r)
			out := make([][]byte, len(docs))
			for i, d := range docs {
				var err error
				if out[i], err = json.Marshal(d.tree()); err != nil {
					return nil, err
				}
			}
			return out, nil
		},
	}
}

// document maps the dotted names of fields to values.
type document map[string]any

// set leaves out what is not known.
func (d document) set(key, value string) {
	if value != "" {
		d[key] = export.UTF8(value)
	}
}

func (d document) list(key string, values []string) {
	if len(values) > 0 {
		out := make([]string, len(values))
		for i, v := range values {
			out[i] = export.UTF8(v)
		}
		d[key] = out
	}
}

// tree returns the document with an object for each dot.
func (d document) tree() map[string]any {
	root := map[string]any{}
	for key, v := range d {
		parts := strings.Split(key, ".")
		at := root
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = v
	}
	return root
}

func documents(o export.Origin, r export.Record) []document {
	if r.Finding != nil {
		return []document{alert(o, r)}
	}
	s := r.Session
	out := []document{aboutSession(o, r)}
	for i := range s.Processes {
		out = append(out, aboutProcess(o, r, &s.Processes[i]))
	}
	return out
}

// base returns what every document has.
func base(o export.Origin, r export.Record, id, kind, category, dataset string) document {
	d := document{
		"@timestamp": r.Time().UTC(), "ecs.version": Version, "message": r.Summary(), "event.id": id, "event.kind": kind,
		"event.category": []string{category}, "event.dataset": "sallyport." + dataset, "event.module": "sallyport",
		"event.provider": "sallyport", "event.severity": int(r.Severity()), "host.name": o.Node(r),
		"observer.vendor": export.Vendor, "observer.product": export.Product, "observer.type": "sensor",
		"tags": []string{"sallyport"},
	}
	d.set("observer.version", o.Version)
	return d
}

func aboutSession(o export.Origin, r export.Record) document {
	s := r.Session
	d := base(o, r, string(s.ID), "event", "session", "session")
	d["event.action"] = string(s.Kind)
	d["event.sequence"] = s.Revision
	d["event.start"] = s.Started.UTC()
	d["event.type"], d["event.outcome"] = []string{"start"}, "unknown"
	switch {
	case s.State == session.StateFailed:
		d["event.type"], d["event.outcome"] = []string{"start", "end"}, "failure"
	case s.State == session.StateEnded:
		d["event.type"] = []string{"start", "end"}
		d["event.outcome"] = outcome(s.ExitCode)
	}
	if s.Ended != nil {
		d["event.end"], d["event.duration"] = s.Ended.UTC(), max(0, s.Ended.Sub(s.Started).Nanoseconds())
	}
	d.target(s.Target)
	d.actor(s)
	d.own(s)
	if len(s.Processes) > 0 {
		d.process("process.", s, &s.Processes[0], true)
		d.leader(s)
	}
	return d
}

func outcome(code *int) string {
	switch {
	case code == nil:
		return "unknown"
	case *code == 0:
		return "success"
	}
	return "failure"
}

func aboutProcess(o export.Origin, r export.Record, p *session.Process) document {
	s := r.Session
	d := base(o, r, export.Key(s, *p), "event", "process", "process")
	d["@timestamp"], d["event.start"] = p.Start.UTC(), p.Start.UTC()
	d["event.type"], d["event.action"] = []string{"start"}, "exec"
	if p.Forked {
		d["event.action"] = "fork"
	}
	if p.End != nil {
		d["event.type"], d["event.end"] = []string{"start", "end"}, p.End.UTC()
		d["event.outcome"] = outcome(p.ExitCode)
	}
	d.target(s.Target)
	d.actor(s)
	d.own(s)
	d.process("process.", s, p, true)
	d.leader(s)
	return d
}

// process adds a process under a prefix. Not every field exists of a leader.
func (d document) process(prefix string, s *session.Session, p *session.Process, whole bool) {
	d[prefix+"pid"], d[prefix+"entity_id"], d[prefix+"start"] = p.PID, export.Key(s, *p), p.Start.UTC()
	d.list(prefix+"args", p.Argv)
	if len(p.Argv) > 0 {
		d[prefix+"args_count"] = len(p.Argv)
		d.set(prefix+"command_line", export.Line(p.Argv))
	}
	d.set(prefix+"executable", p.Exe)
	if p.Exe != "" {
		d.set(prefix+"name", path.Base(p.Exe))
	}
	d[prefix+"user.id"], d[prefix+"group.id"] = id(p.UID), id(p.GID)
	d[prefix+"interactive"] = p.TTY != "" || s.TTY
	if p.NSPID != 0 {
		d[prefix+"vpid"] = p.NSPID
	}
	if !whole {
		return
	}
	if p.PPID != 0 {
		d[prefix+"parent.pid"] = p.PPID
	}
	if p.End != nil {
		d[prefix+"end"] = p.End.UTC()
	}
	if p.ExitCode != nil {
		d[prefix+"exit_code"] = *p.ExitCode
	}
}

// leader adds the session's root as what everything in it was started from.
func (d document) leader(s *session.Session) {
	d.process("process.entry_leader.", s, &s.Processes[0], false)
	d["process.entry_leader.same_as_process"] = d["process.entity_id"] == d["process.entry_leader.entity_id"]
	d.set("process.entry_leader.entry_meta.type", entryType(s))
	if ip, err := netip.ParseAddr(host(s.Actor.Address)); err == nil {
		d["process.entry_leader.entry_meta.source.ip"] = ip.String()
	}
}

// entryType says, in the schema's words, by which kind of door it came.
func entryType(s *session.Session) string {
	if strings.HasPrefix(string(s.Channel), "KL-") {
		return "kubelet"
	}
	return "container"
}

func (d document) target(t session.Target) {
	d.set("container.id", string(t.ContainerID))
	d.set("container.name", t.ContainerName)
	d.set("container.image.name", t.Image)
	d.set("container.runtime", t.Runtime)
	if t.ImageID != "" {
		d.list("container.image.hash.all", []string{t.ImageID})
	}
	if len(t.Labels) > 0 {
		d["container.labels"] = t.Labels
	}
	d.orchestrator(t.Namespace, t.Pod, t.PodUID, t.Workload)
}

func (d document) orchestrator(namespace, pod, uid, workload string) {
	if namespace == "" && pod == "" && workload == "" {
		return
	}
	d["orchestrator.type"] = "kubernetes"
	d.set("orchestrator.namespace", namespace)
	kind, name, _ := strings.Cut(workload, "/")
	if pod == "" {
		d.set("orchestrator.resource.type", strings.ToLower(kind))
		d.set("orchestrator.resource.name", name)
		return
	}
	d["orchestrator.resource.type"] = "pod"
	d.set("orchestrator.resource.name", pod)
	d.set("orchestrator.resource.id", uid)
	d.set("orchestrator.resource.parent.type", strings.ToLower(kind))
}

// actor says who asked, in user.* only when exactly one is known.
func (d document) actor(s *session.Session) {
	a := s.Actor
	name := finding.Name(a)
	d.set("user.name", name)
	if a.UID != nil {
		d["user.id"] = id(*a.UID)
	}
	d.set("user.id", a.KubeUID)
	d.list("user.roles", a.Groups)
	if a.LoginUser != "" {
		d.set("user.effective.name", a.User)
	}
	d.set("source.address", a.Address)
	if ip, err := netip.ParseAddr(host(a.Address)); err == nil {
		d["source.ip"] = ip.String()
	}
	d.set("user_agent.original", a.UserAgent)
	related := export.Candidates(s)
	if name != "" && !slices.Contains(related, name) {
		related = append(related, name)
	}
	d.list("related.user", related)
}

// own adds what the schema has no place for.
func (d document) own(s *session.Session) {
	d["sallyport.session.id"] = string(s.ID)
	d["sallyport.session.kind"] = string(s.Kind)
	d["sallyport.session.channel"] = string(s.Channel)
	d["sallyport.session.state"] = string(s.State)
	d["sallyport.attribution.level"] = string(s.Attribution.Level)
	d.list("sallyport.attribution.via", s.Attribution.Via)
	d.list("sallyport.attribution.candidates", export.Candidates(s))
	d["sallyport.unexplained"] = s.Unexplained.Is
	d.set("event.reason", s.Unexplained.Reason)
	d.list("sallyport.request.args", s.Argv)
	d.list("sallyport.gaps", s.Gaps)
	d.set("sallyport.superseded_by", string(s.SupersededBy))
	if s.LostRecords > 0 {
		d["sallyport.lost_records"] = s.LostRecords
	}
	d.set("sallyport.actor.executable", s.Actor.Exe)
	d.set("sallyport.actor.service", string(s.Actor.Service))
	if s.Actor.Impersonator != nil {
		d.set("sallyport.actor.impersonator", s.Actor.Impersonator.User)
	}
}

func alert(o export.Origin, r export.Record) document {
	f := r.Finding
	category := "process"
	if f.Session == "" {
		category = "configuration"
	}
	d := base(o, r, string(f.ID), "alert", category, "finding")
	d["event.type"] = []string{"info"}
	d.set("event.action", string(f.Effect))
	d.set("event.code", f.Rule)
	d.set("rule.id", f.Rule)
	d.set("rule.name", f.Title)
	d.set("sallyport.severity", f.Severity.String())
	d.set("sallyport.subject", f.Subject)
	d.set("sallyport.session.id", string(f.Session))
	d.set("sallyport.session.kind", string(f.Kind))
	d.set("sallyport.session.channel", string(f.Channel))
	d.set("sallyport.remedy", f.Remedy)
	d.list("sallyport.cis", f.CIS)
	d.list("sallyport.unknown", f.Unknown)
	if len(f.Attack) > 0 {
		d.techniques(f)
	}
	d.list("process.args", f.Command)
	if len(f.Command) > 0 {
		d["process.args_count"] = len(f.Command)
		d.set("process.command_line", export.Line(f.Command))
	}
	if t := f.Target; t != nil {
		d.target(session.Target{
			ContainerID: t.ContainerID, ContainerName: t.ContainerName, Image: t.Image,
			Pod: t.Pod, Namespace: t.Namespace, Workload: t.Workload,
		})
		d.set("sallyport.object", t.Object)
	}
	if a := f.Actor; a != nil {
		d.set("user.name", a.Name)
		d.set("source.address", a.Address)
		if ip, err := netip.ParseAddr(host(a.Address)); err == nil {
			d["source.ip"] = ip.String()
		}
		d.set("sallyport.attribution.level", string(a.Attribution))
		d.list("sallyport.attribution.candidates", a.Candidates)
		d.list("sallyport.actor.doubts", a.Doubts)
	}
	return d
}

func (d document) techniques(f *finding.Finding) {
	var ids, names []string
	for _, t := range f.Attack {
		parent, _, sub := strings.Cut(string(t), ".")
		if sub {
			d["threat.technique.subtechnique.id"] = append(texts(d["threat.technique.subtechnique.id"]), string(t))
			if n := t.Name(); n != "" {
				d["threat.technique.subtechnique.name"] = append(texts(d["threat.technique.subtechnique.name"]), n)
			}
		}
		if !slices.Contains(ids, parent) {
			ids = append(ids, parent)
			if n := t.Name(); n != "" && !sub {
				names = append(names, n)
			}
		}
	}
	d["threat.framework"] = "MITRE ATT&CK"
	d.list("threat.technique.id", ids)
	d.list("threat.technique.name", names)
}

func texts(v any) []string {
	list, _ := v.([]string)
	return list
}

func id(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// host returns an address without its port.
func host(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().String()
	}
	return address
}
