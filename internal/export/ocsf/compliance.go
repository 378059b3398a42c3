package ocsf

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
)

const classCompliance = 2003

// Status is how a check of a scan ended, as the schema numbers it.
type Status int

// The statuses.
const (
	Pass    Status = 1
	Warning Status = 2 // no result, for something was not known
	Fail    Status = 3
)

var statusNames = map[Status]string{Pass: "Pass", Warning: "Warning", Fail: "Fail"}

// Check is a check of a scan.
type Check struct {
	// Finding is what it found; of one that found nothing, its rule, title, subject and
	// time, with the id that a finding would have.
	Finding finding.Finding
	Status  Status
	Details []string // why, in a person's words
	// Suppressed says that somebody has decided to live with it, and Comment why.
	Suppressed bool
	Comment    string
}

// Compliance writes a check as a Compliance Finding (2003). metadata.uid and
// finding_info.uid are the finding's id, which is the same in every scan.
func Compliance(o export.Origin, c *Check) ([]byte, error) {
	f := &c.Finding
	e := base(o, export.Record{Finding: f}, classCompliance, 1, string(f.ID), f.Time)
	info := object{
		"uid": string(f.ID), "created_time": millis(f.Time),
		"analytic": object{"type_id": 1}.set("uid", f.Rule).set("name", f.Title),
	}
	info.set("title", f.Title).set("desc", f.Message)
	info.list("attacks", attacks(f.Attack))
	e["finding_info"], e["compliance"] = info, compliance(c)
	if c.Status == Fail {
		e["status_id"], e["status"] = 1, "New"
	}
	if c.Suppressed {
		e["status_id"], e["status"] = 3, "Suppressed"
	}
	e.set("comment", c.Comment)
	if f.Remedy != "" && c.Status == Fail {
		e["remediation"] = object{}.set("desc", f.Remedy)
	}
	e["resources"] = checked(f)
	if facts := evidences(f); c.Status == Fail {
		e.list("evidences", facts)
	}
	e["unmapped"] = object{"subject": export.UTF8(f.Subject)}
	return json.Marshal(e)
}

// benchmarks are the standards of a finding's recommendations, by their first word.
var benchmarks = map[string]string{"docker": "CIS Docker Benchmark 1.6", "kubernetes": "CIS Kubernetes Benchmark 1.12"}

func compliance(c *Check) object {
	f := &c.Finding
	out := object{"control": f.Rule, "status_id": int(c.Status), "status": statusNames[c.Status]}
	out.set("desc", f.Title)
	var standards []string
	for _, r := range f.CIS {
		name, _, _ := strings.Cut(r, " ")
		if s, ok := benchmarks[name]; ok && !slices.Contains(standards, s) {
			standards = append(standards, s)
		}
	}
	if len(standards) > 0 {
		out["standards"], out["requirements"] = standards, f.CIS
	}
	if len(c.Details) > 0 {
		details := make([]string, len(c.Details))
		for n, d := range c.Details {
			details[n] = export.UTF8(d)
		}
		out["status_details"] = details
	}
	return out
}

// checked names what a check is about: its subject, where nothing else is known.
func checked(f *finding.Finding) []object {
	if t := f.Target; t != nil {
		list := resources(session.Target{ContainerID: t.ContainerID, ContainerName: t.ContainerName, Namespace: t.Namespace, Pod: t.Pod, Workload: t.Workload}, t.Object)
		if len(list) > 0 {
			return list
		}
	}
	return []object{object{"type": "object"}.set("name", f.Subject)}
}
