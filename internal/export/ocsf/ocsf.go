// Package ocsf writes records as events of the Open Cybersecurity Schema
// Framework.
//
// A session that somebody asked a service for is an API Activity (6003), and
// each process that ran in it a Process Activity (1007); one that came in beside
// every service has processes only. metadata.correlation_uid is the session's
// id. A finding is a Detection Finding (2004). metadata.uid is the same each time
// that the same thing is said again, and metadata.sequence grows.
package ocsf

import (
	"encoding/json"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
)

// Version is the version of the schema.
const Version = "1.8.0"

// The classes.
const (
	classProcess = 1007
	classAPI     = 6003
	classFinding = 2004
)

// New returns the format.
func New(o export.Origin) export.Format {
	return export.Format{
		Name: "ocsf", ContentType: "application/x-ndjson", End: "\n",
		Encode: func(r export.Record) ([][]byte, error) {
			var out [][]byte
			for _, e := range events(o, r) {
				b, err := json.Marshal(e)
				if err != nil {
					return nil, err
				}
				out = append(out, b)
			}
			return out, nil
		},
	}
}

// object is an object of the schema: a value that is not known is not in it.
type object map[string]any

func (o object) set(key, value string) object {
	if value != "" {
		o[key] = export.UTF8(value)
	}
	return o
}

// list adds objects, unless there are none.
func (o object) list(key string, list []object) object {
	if len(list) > 0 {
		o[key] = list
	}
	return o
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func events(o export.Origin, r export.Record) []object {
	if r.Finding != nil {
		return []object{detection(o, r)}
	}
	s := r.Session
	var out []object
	if asked(s) || len(s.Processes) == 0 {
		out = append(out, apiActivity(o, r))
	}
	for i := range s.Processes {
		out = append(out, processActivity(o, r, &s.Processes[i]))
	}
	return out
}

// asked reports whether a service was asked for the session.
func asked(s *session.Session) bool {
	return s.Kind != session.KindEnter && s.Kind != session.KindRuntime
}

// base returns what every event has.
func base(o export.Origin, r export.Record, class, activity int, uid string, at time.Time) object {
	meta := object{
		"version": Version, "uid": uid, "product": object{"name": export.Product, "vendor_name": export.Vendor}.set("version", o.Version),
		"profiles": []string{"container", "host"}, "log_name": "sallyport",
	}
	if r.Session != nil {
		meta["correlation_uid"], meta["sequence"] = string(r.Session.ID), r.Session.Revision
	} else if r.Finding.Session != "" {
		meta["correlation_uid"] = string(r.Finding.Session)
	}
	return object{
		"class_uid": class, "category_uid": class / 1000, "activity_id": activity, "type_uid": class*100 + activity,
		"time": millis(at), "severity_id": severity(r.Severity()), "metadata": meta, "message": r.Summary(),
		"device": object{"hostname": o.Node(r), "type_id": 0},
	}
}

func severity(s finding.Severity) int { return int(s) + 1 } // 1 Informational to 5 Critical

func apiActivity(o export.Origin, r export.Record) object {
	s := r.Session
	e := base(o, r, classAPI, 1, string(s.ID), s.Started)
	e["api"] = object{"operation": string(s.Kind), "service": object{"name": string(s.Channel)}}
	if s.AuditID != "" {
		e["api"].(object)["request"] = object{"uid": string(s.AuditID)}
	}
	e["actor"] = actor(s)
	source := object{}
	switch ip, err := netip.ParseAddr(host(s.Actor.Address)); {
	case err == nil:
		source["ip"] = ip.String()
	case s.Actor.Address != "":
		source.set("name", s.Actor.Address)
	default:
		source["hostname"] = o.Node(r) // asked on this machine, or not known from where
	}
	e["src_endpoint"] = source
	e["status_id"] = 0
	switch s.State {
	case session.StateFailed:
		e["status_id"] = 2
	case session.StateEnded, session.StateRunning:
		e["status_id"] = 1
	}
	if s.Unexplained.Is {
		e.set("status_detail", s.Unexplained.Reason)
	}
	e.list("resources", resources(s.Target, ""))
	if s.Actor.UserAgent != "" {
		e["http_request"] = object{}.set("user_agent", s.Actor.UserAgent)
	}
	e["unmapped"] = unmapped(s)
	return e
}

// unmapped holds what the schema has no place for.
func unmapped(s *session.Session) object {
	u := object{
		"channel": string(s.Channel), "kind": string(s.Kind), "state": string(s.State),
		"attribution": string(s.Attribution.Level), "unexplained": s.Unexplained.Is,
	}
	u.set("command", export.Line(s.Argv)).set("superseded_by", string(s.SupersededBy))
	if c := export.Candidates(s); len(c) > 0 {
		u["candidates"] = c
	}
	if s.LostRecords > 0 {
		u["lost_records"] = s.LostRecords
	}
	return u
}

// actor says who asked. When nobody is known, the session itself stands for
// him: the schema wants something.
func actor(s *session.Session) object {
	a := object{"session": object{"uid": string(s.ID)}}
	if u := user(s.Actor); u != nil {
		a["user"] = u
	}
	if s.Actor.PID != 0 {
		p := object{"pid": s.Actor.PID}.set("cmd_line", export.Line(s.Actor.Argv)).set("path", s.Actor.Exe)
		if s.Actor.Exe != "" {
			p.set("name", path.Base(s.Actor.Exe))
		}
		a["process"] = p
	}
	a.set("invoked_by", string(s.Actor.Service))
	return a
}

func user(a session.Actor) object {
	u := object{"type_id": 1}.set("name", finding.Name(a))
	if a.UID != nil {
		u["uid"] = strconv.FormatUint(uint64(*a.UID), 10)
	}
	u.set("uid", a.KubeUID)
	if u["name"] == nil && u["uid"] == nil {
		return nil
	}
	if a.Deputy {
		u["type_id"] = 4 // a service account
	}
	var groups []object
	for _, g := range a.Groups {
		groups = append(groups, object{}.set("name", g))
	}
	return u.list("groups", groups)
}

func processActivity(o export.Origin, r export.Record, p *session.Process) object {
	s := r.Session
	e := base(o, r, classProcess, 1, export.Key(s, *p), p.Start)
	e["launch_type_id"] = 3
	if p.Forked {
		e["launch_type_id"] = 2
	}
	e["actor"] = actor(s)
	e["process"] = process(s, p)
	if p.ExitCode != nil {
		e["exit_code"] = *p.ExitCode
	}
	e["unmapped"] = unmapped(s)
	return e
}

func process(s *session.Session, p *session.Process) object {
	v := object{
		"pid": p.PID, "uid": export.Key(s, *p), "created_time": millis(p.Start),
		"user": object{"uid": strconv.FormatUint(uint64(p.UID), 10)}, "session": object{"uid": string(s.ID)},
	}
	v.set("cmd_line", export.Line(p.Argv)).set("path", p.Exe)
	if p.Exe != "" {
		v.set("name", path.Base(p.Exe))
		v["file"] = object{"type_id": 1}.set("name", path.Base(p.Exe)).set("path", p.Exe)
	}
	if p.TTY != "" {
		v["session"].(object).set("terminal", p.TTY)
	}
	if p.NSPID != 0 {
		v["namespace_pid"] = p.NSPID
	}
	if p.End != nil {
		v["terminated_time"] = millis(*p.End)
	}
	if p.PPID != 0 {
		v["parent_process"] = object{"pid": p.PPID}
	}
	if c := container(s.Target); c != nil {
		v["container"] = c
	}
	return v
}

func container(t session.Target) object {
	if t.ContainerID == "" && t.ContainerName == "" {
		return nil
	}
	c := object{}.set("uid", string(t.ContainerID)).set("name", t.ContainerName).set("runtime", t.Runtime).set("pod_uuid", t.PodUID)
	if t.ImageID != "" {
		c["image"] = object{}.set("uid", t.ImageID).set("name", t.Image)
	} else if t.Image != "" {
		c["image"] = object{}.set("uid", t.Image).set("name", t.Image)
	}
	if t.Pod != "" {
		c["orchestrator"] = "kubernetes"
	}
	return c
}

// resources names what a session or a finding is about.
func resources(t session.Target, thing string) []object {
	var out []object
	add := func(kind, uid, name string) {
		if uid == "" && name == "" {
			return
		}
		out = append(out, object{"type": kind}.set("uid", uid).set("name", name).set("namespace", t.Namespace))
	}
	add("container", string(t.ContainerID), t.ContainerName)
	add("pod", t.PodUID, t.Pod)
	add("workload", "", t.Workload)
	add("object", "", thing)
	return out
}

func detection(o export.Origin, r export.Record) object {
	f := r.Finding
	e := base(o, r, classFinding, 1, string(f.ID), f.Time)
	info := object{
		"uid": string(f.ID), "created_time": millis(f.Time),
		"analytic": object{"type_id": 1}.set("uid", f.Rule).set("name", f.Title),
	}
	info.set("title", f.Title).set("desc", f.Message)
	info.list("attacks", attacks(f.Attack))
	var related []object
	for _, id := range f.Related {
		related = append(related, object{"uid": string(id)})
	}
	info.list("related_events", related)
	e["finding_info"], e["status_id"], e["is_alert"] = info, 1, true
	if f.Remedy != "" {
		e["remediation"] = object{}.set("desc", f.Remedy)
	}
	if t := f.Target; t != nil {
		e.list("resources", resources(session.Target{
			ContainerID: t.ContainerID, ContainerName: t.ContainerName, Namespace: t.Namespace, Pod: t.Pod, Workload: t.Workload,
		}, t.Object))
	}
	e.list("evidences", evidences(f))
	u := object{"subject": export.UTF8(f.Subject)}
	u.set("channel", string(f.Channel)).set("kind", string(f.Kind)).set("effect", string(f.Effect))
	if f.Effect != "" {
		u["enforced"] = f.Enforced
	}
	if len(f.CIS) > 0 {
		u["cis"] = f.CIS
	}
	e["unmapped"] = u
	return e
}

func evidences(f *finding.Finding) []object {
	data := object{}.set("command", export.Line(f.Command))
	v := object{}
	if a := f.Actor; a != nil {
		data.set("attribution", string(a.Attribution))
		if a.Name != "" {
			v["user"] = object{"type_id": 1}.set("name", a.Name)
		}
		if len(a.Candidates) > 0 {
			data["candidates"] = a.Candidates
		}
	}
	var facts []object
	for _, e := range f.Evidence {
		facts = append(facts, object{}.set("source", e.Source).set("what", e.What).set("detail", e.Detail))
	}
	data.list("facts", facts)
	if len(data) == 0 && len(v) == 0 {
		return nil
	}
	v["data"] = data
	return []object{v}
}

func attacks(list []attack.Technique) []object {
	var out []object
	for _, t := range list {
		parent, _, sub := strings.Cut(string(t), ".")
		a := object{"technique": object{"uid": parent}.set("name", attack.Technique(parent).Name())}
		if sub {
			a["sub_technique"] = object{"uid": string(t)}.set("name", t.Name())
		}
		out = append(out, a)
	}
	return out
}

// host returns an address without its port.
func host(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().String()
	}
	return address
}
