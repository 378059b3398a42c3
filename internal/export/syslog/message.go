// Package syslog writes records as RFC 5424 messages and sends them over TLS
// (RFC 5425).
package syslog

import (
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/export"
)

// Bounds, in bytes.
const (
	// MaxMessage bounds a message: what RFC 5425 says a receiver should take.
	MaxMessage = 8192
	hostMax    = 255
	// Of structured data, escaped: 20 parameters and a long one leave room for
	// the message itself.
	paramMax = 256
	longMax  = 1536
)

// facility is "log audit" of RFC 5424.
const facility = 13

// Enterprise is the default private enterprise number in the ids of structured
// data. 32473 is set aside for examples (RFC 5612): the product has no number of
// its own.
const Enterprise = 32473

// severities are syslog's, by a finding's.
var severities = map[finding.Severity]int{
	finding.Critical: 2, finding.High: 3, finding.Medium: 4, finding.Low: 5, finding.Info: 6,
}

// Format returns the format: one message for a record, without framing.
func Format(o export.Origin, enterprise int) export.Format {
	return export.Format{
		Name: "syslog", ContentType: "text/plain; charset=utf-8", Single: true,
		Encode: func(r export.Record) ([][]byte, error) {
			return [][]byte{message(o, enterprise, r)}, nil
		},
	}
}

func message(o export.Origin, enterprise int, r export.Record) []byte {
	d := data{}
	id, kind := "finding", "finding"
	if r.Session != nil {
		id, kind = "session", "session."+string(r.Session.Kind)
		d.session(r)
	} else {
		d.finding(r.Finding)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s sallyport - %s [%s@%d%s] ", facility*8+severities[r.Severity()],
		r.Time().UTC().Format("2006-01-02T15:04:05.000000Z"), header(o.Node(r), hostMax), header(kind, 32), id, enterprise, d.String())
	text := "\ufeff" + r.Summary() // with the mark that says UTF-8
	out := b.String() + text
	if len(out) > MaxMessage {
		out = strings.ToValidUTF8(out[:MaxMessage], "")
	}
	return []byte(out)
}

// header returns a field of the header: printable ASCII without blanks.
func header(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), limit)]
}

// data is the parameters of one element of structured data.
type data struct{ strings.Builder }

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// add leaves out what is not known. Control characters are for no log file.
func (d *data) add(name, value string) {
	if value == "" {
		return
	}
	value = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, export.UTF8(value))
	limit := paramMax
	if name == "command" {
		limit = longMax
	}
	if len(escaper.Replace(value)) > limit {
		value = strings.ToValidUTF8(value[:min(len(value), limit/2-3)], "") + "…" // escaped, it may double
	}
	d.WriteString(" " + name + `="` + escaper.Replace(value) + `"`)
}

func (d *data) session(r export.Record) {
	s := r.Session
	d.add("id", string(s.ID))
	d.add("revision", fmt.Sprint(s.Revision))
	d.add("channel", string(s.Channel))
	d.add("state", string(s.State))
	d.add("attribution", string(s.Attribution.Level))
	d.add("actor", finding.Name(s.Actor))
	d.add("candidates", strings.Join(export.Candidates(s), ","))
	d.add("address", s.Actor.Address)
	d.add("container", string(s.Target.ContainerID))
	d.add("containerName", s.Target.ContainerName)
	d.add("image", s.Target.Image)
	d.add("namespace", s.Target.Namespace)
	d.add("pod", s.Target.Pod)
	d.add("command", export.Line(export.Command(s)))
	if s.ExitCode != nil {
		d.add("exitCode", fmt.Sprint(*s.ExitCode))
	}
	d.add("started", s.Started.UTC().Format(time.RFC3339Nano))
	d.add("unexplained", s.Unexplained.Reason)
}

func (d *data) finding(f *finding.Finding) {
	d.add("id", string(f.ID))
	d.add("rule", f.Rule)
	d.add("severity", f.Severity.String())
	d.add("subject", f.Subject)
	d.add("session", string(f.Session))
	d.add("channel", string(f.Channel))
	d.add("effect", string(f.Effect))
	if a := f.Actor; a != nil {
		d.add("attribution", string(a.Attribution))
		d.add("actor", a.Name)
		d.add("candidates", strings.Join(a.Candidates, ","))
		d.add("address", a.Address)
	}
	if t := f.Target; t != nil {
		d.add("container", string(t.ContainerID))
		d.add("containerName", t.ContainerName)
		d.add("namespace", t.Namespace)
		d.add("pod", t.Pod)
		d.add("object", t.Object)
	}
	d.add("command", export.Line(f.Command))
	techniques := make([]string, len(f.Attack))
	for i, t := range f.Attack {
		techniques[i] = string(t)
	}
	d.add("attack", strings.Join(techniques, ","))
}
