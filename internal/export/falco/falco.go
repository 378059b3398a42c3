// Package falco writes records as Falco writes alerts in JSON, for Falcosidekick
// and what stands behind it.
//
// Falcosidekick (2.34) takes one alert a request and refuses one without
// priority, rule, time or output_fields. Fields of Falco's own names have
// Falco's meaning: proc.* and user.* are of the process in the container. Who
// asked is in sallyport.* and, from the Kubernetes API, in ka.user.name.
package falco

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
)

// SessionRule is the rule that records of sessions carry.
const SessionRule = "Container administration command"

type alert struct {
	Output   string         `json:"output"`
	Priority string         `json:"priority"`
	Rule     string         `json:"rule"`
	Time     time.Time      `json:"time"`
	Fields   map[string]any `json:"output_fields"`
	Source   string         `json:"source"`
	Tags     []string       `json:"tags"`
	Hostname string         `json:"hostname"`
}

// New returns the format.
func New(o export.Origin) export.Format {
	return export.Format{
		Name: "falco", ContentType: "application/json", Single: true,
		Encode: func(r export.Record) ([][]byte, error) {
			b, err := json.Marshal(encode(o, r))
			return [][]byte{b}, err
		},
	}
}

// priorities are Falco's, by severity.
var priorities = map[finding.Severity]string{
	finding.Info: "Informational", finding.Low: "Notice", finding.Medium: "Warning",
	finding.High: "Error", finding.Critical: "Critical",
}

func encode(o export.Origin, r export.Record) alert {
	a := alert{
		Priority: priorities[r.Severity()], Time: r.Time().UTC(), Source: "sallyport", Hostname: o.Node(r),
		Tags: []string{"container", "sallyport"},
	}
	f := fields{}
	switch {
	case r.Finding != nil:
		a.Rule = r.Finding.Rule
		for _, t := range r.Finding.Attack {
			a.Tags = append(a.Tags, string(t))
		}
		f.finding(r.Finding)
	default:
		a.Rule = SessionRule
		a.Tags = append(a.Tags, "T1609")
		f.session(r.Session)
	}
	a.Output = a.Time.Format("15:04:05.000000000") + ": " + a.Priority + " " + r.Summary()
	f.set("evt.time", a.Time.Format(time.RFC3339Nano))
	a.Fields = f
	return a
}

type fields map[string]any

// set leaves out what is not known.
func (f fields) set(key, value string) {
	if value != "" {
		f[key] = export.UTF8(value)
	}
}

func (f fields) session(s *session.Session) {
	f.set("sallyport.session", string(s.ID))
	f.set("sallyport.revision", strconv.FormatUint(uint64(s.Revision), 10))
	f.set("sallyport.kind", string(s.Kind))
	f.set("sallyport.channel", string(s.Channel))
	f.set("sallyport.state", string(s.State))
	f.set("sallyport.attribution", string(s.Attribution.Level))
	f.set("sallyport.actor", finding.Name(s.Actor))
	f.set("sallyport.candidates", strings.Join(export.Candidates(s), ","))
	f.set("sallyport.actor.address", s.Actor.Address)
	f.set("sallyport.actor.exe", s.Actor.Exe)
	f.set("sallyport.unexplained", s.Unexplained.Reason)
	f.set("sallyport.command", export.Line(s.Argv))
	if s.Actor.Kind == session.ActorKubernetes {
		f.set("ka.user.name", s.Actor.User)
		f.set("ka.useragent", s.Actor.UserAgent)
	}
	f.target(string(s.Target.ContainerID), s.Target.ContainerName, s.Target.Image, s.Target.Namespace, s.Target.Pod)
	f.set("k8s.pod.uid", s.Target.PodUID)
	if len(s.Processes) == 0 {
		return
	}
	p := s.Processes[0]
	f["proc.pid"], f["user.uid"], f["group.gid"] = p.PID, p.UID, p.GID
	f.set("proc.exepath", p.Exe)
	if p.Exe != "" {
		f.set("proc.name", path.Base(p.Exe))
	}
	f.set("proc.cmdline", export.Line(p.Argv))
	if p.NSPID != 0 {
		f["proc.vpid"] = p.NSPID
	}
}

func (f fields) target(id, name, image, namespace, pod string) {
	f.set("container.id", id[:min(12, len(id))]) // as Falco has it
	f.set("container.full_id", id)
	f.set("container.name", name)
	f.set("container.image", image)
	f.set("k8s.ns.name", namespace)
	f.set("k8s.pod.name", pod)
}

func (f fields) finding(v *finding.Finding) {
	f.set("sallyport.finding", string(v.ID))
	f.set("sallyport.subject", v.Subject)
	f.set("sallyport.session", string(v.Session))
	f.set("sallyport.kind", string(v.Kind))
	f.set("sallyport.channel", string(v.Channel))
	f.set("sallyport.effect", string(v.Effect))
	f.set("sallyport.severity", v.Severity.String())
	f.set("sallyport.command", export.Line(v.Command))
	f.set("sallyport.remedy", v.Remedy)
	if a := v.Actor; a != nil {
		f.set("sallyport.actor", a.Name)
		f.set("sallyport.attribution", string(a.Attribution))
		f.set("sallyport.candidates", strings.Join(a.Candidates, ","))
		f.set("sallyport.actor.address", a.Address)
		f.set("sallyport.actor.exe", a.Exe)
		if a.Kind == session.ActorKubernetes {
			f.set("ka.user.name", a.Name)
		}
	}
	if t := v.Target; t != nil {
		f.target(string(t.ContainerID), t.ContainerName, t.Image, t.Namespace, t.Pod)
		f.set("sallyport.object", t.Object)
	}
}
