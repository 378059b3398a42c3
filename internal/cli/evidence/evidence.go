// Package evidence reads what was observed before: captures of ours, logs of other tools,
// and sessions that were printed.
package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/docker/daemonlog"
	"github.com/sallyport/sallyport/internal/hostlog/auditd"
	"github.com/sallyport/sallyport/internal/hostlog/falco"
	"github.com/sallyport/sallyport/internal/hostlog/tetragon"
	"github.com/sallyport/sallyport/internal/hostlog/winevent"
	"github.com/sallyport/sallyport/internal/kube/audit/export"
	"github.com/sallyport/sallyport/internal/lib/logfile"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// recordReader makes observations of the records of one log. An error concerns
// the one record; logfile.ErrRefused concerns all of them.
type recordReader interface {
	Record(data []byte) ([]event.Observation, error)
	// Inside counts programs that ran in containers and are no sessions; Other
	// counts records that are about something else than commands.
	Inside() int
	Other() int
}

// logFormat is a form of other tools' evidence that replay reads.
type logFormat struct {
	name, about string
	sniff       func(record []byte) bool
	open        func() recordReader
}

// logFormats lists them, as help does.
func logFormats() []logFormat {
	audit := func(form export.Form, about string) logFormat {
		return logFormat{
			string(form), about,
			func(b []byte) bool { f, ok := export.Sniff(b); return ok && f == form },
			func() recordReader { return export.New(form) },
		}
	}
	return []logFormat{
		audit(export.Native, "audit log of the Kubernetes API server, or EventLists"),
		audit(export.EKS, "the same from Amazon EKS: CloudWatch (filter-log-events, S3, subscription)"),
		audit(export.GKE, "the same from Google GKE: Cloud Logging entries"),
		audit(export.AKS, "the same from Azure AKS: resource logs in storage or Event Hubs"),
		{"docker-events", "docker events --format '{{json .}}'", docker.SniffEvent, func() recordReader { return docker.NewEventLog() }},
		{"docker-log", "log of dockerd --debug", daemonlog.Sniff, func() recordReader { return daemonlog.New() }},
		{"tetragon", "Tetragon's JSON export", tetragon.Sniff, func() recordReader { return tetragon.New() }},
		{"falco", "Falco's alerts in JSON", falco.Sniff, func() recordReader { return falco.New() }},
		{"auditd", "Linux audit log, raw or enriched", auditd.Sniff, func() recordReader { return auditd.New() }},
		{"winevent", "Sysmon (Windows, Linux) and Windows Security 4688, as XML or by Winlogbeat", winevent.Sniff, func() recordReader { return winevent.New() }},
	}
}

// LogFormats names them.
func LogFormats() (names []string) {
	for _, f := range logFormats() {
		names = append(names, f.name)
	}
	return names
}

func logFormatNames() string { return strings.Join(LogFormats(), ", ") }

// captureMark begins a capture of ours.
var captureMark = []byte(`{"sallyport_capture"`)

// sniffed is how many records are looked at to tell what a file is.
const sniffed = 10

// formatOf tells what a file is by its first records; nil for a capture, and for
// an empty file: opening it as a capture says so.
func formatOf(file string) (*logFormat, error) {
	f, err := logfile.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := f.Head()
	if err != nil || bytes.HasPrefix(head, captureMark) {
		return nil, err
	}
	records, err := logfile.NewFile(file, bytes.NewReader(head))
	if err != nil {
		return nil, err
	}
	var found []logFormat
	n := 0
	for r, err := range records.Records() {
		if n++; err != nil || n > sniffed {
			break // the head may end within a record
		}
		for _, format := range logFormats() {
			if r.Err == nil && format.sniff(r.Data) && !slices.ContainsFunc(found, func(o logFormat) bool { return o.name == format.name }) {
				found = append(found, format)
			}
		}
	}
	switch len(found) {
	case 0:
		if len(bytes.TrimSpace(head)) == 0 {
			return nil, nil
		}
		return nil, exit.Fail(exit.Usage, "--format NAME, one of "+logFormatNames(), "%s: neither a capture nor a log that is known", file)
	case 1:
		return &found[0], nil
	}
	return nil, exit.Fail(exit.Usage, "--format "+found[0].name, "%s: begins like %s and like %s", file, found[0].name, found[1].name)
}

// Reader is the files of a replay and how they are read.
type Reader struct {
	Stderr io.Writer
	Format string // of all files; "" tells by content
	Node   string // of observations that name none
	Faulty bool   // records were not understood
}

// Read gives the observations of all files, logs of other tools merged with the
// rest by time.
func (v *Reader) Read(ctx context.Context, files []string) (iter.Seq2[event.Observation, error], error) {
	var captures []string
	var all []iter.Seq2[event.Observation, error]
	for _, file := range files {
		format, err := v.formatOf(file)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
			return nil, exit.Fail(exit.Usage, "", "%w", err)
		case err != nil:
			return nil, err
		case format == nil:
			captures = append(captures, file)
		default:
			all = append(all, v.log(ctx, file, format))
		}
	}
	if len(captures) > 0 {
		all = slices.Insert(all, 0, Captures(ctx, captures))
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return merged(all), nil
}

func (v *Reader) formatOf(file string) (*logFormat, error) {
	if v.Format == "" {
		return formatOf(file)
	}
	for _, f := range logFormats() {
		if f.name == v.Format {
			return &f, nil
		}
	}
	return nil, exit.Fail(exit.Usage, "one of "+logFormatNames(), "no format %q", v.Format)
}

// log reads one file of another tool's.
func (v *Reader) log(ctx context.Context, file string, format *logFormat) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		f, err := logfile.Open(file)
		if err != nil {
			yield(nil, exit.Fail(exit.Usage, "", "%w", err))
			return
		}
		defer f.Close()
		r := format.open()
		give := func(list []event.Observation) bool {
			for _, o := range list {
				if !yield(v.place(o), nil) {
					return false
				}
			}
			return true
		}
		say := account{to: v.Stderr, file: file, format: format.name}
		for rec, err := range f.Records() {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			out, err := r.Record(rec.Data)
			if err = errors.Join(rec.Err, err); errors.Is(err, logfile.ErrRefused) {
				yield(nil, exit.Fail(exit.Usage, "", "%s: %w", file, err))
				return
			}
			say.record(rec, err)
			if !give(out) {
				return
			}
		}
		if e, ok := r.(interface{ End() []event.Observation }); ok && !give(e.End()) {
			return
		}
		v.Faulty = v.Faulty || say.bad > 0
		say.sum(r)
	}
}

// place puts an observation that names no node on the node of --node, unless it
// concerns the cluster.
func (v *Reader) place(o event.Observation) event.Observation {
	if _, pod := o.(event.KubePod); v.Node == "" || pod || o.Head().Node != "" || o.Head().Witness == event.WitnessAudit {
		return o
	}
	return event.WithNode(o, v.Node)
}

// account says on standard error what became of a file's records.
type account struct {
	to           io.Writer
	file, format string
	records, bad int
}

// How much of what was not understood is quoted.
const (
	quotedMax = 3
	quotedLen = 120
)

func (a *account) record(r logfile.Record, err error) {
	a.records++
	if err == nil {
		return
	}
	if a.bad++; a.bad <= quotedMax {
		fmt.Fprintf(a.to, "%s: record %d is not understood and left out: %s: %s\n", printable.Text(a.file), r.N,
			printable.Text(err.Error()), printable.Text(string(r.Data[:min(len(r.Data), quotedLen)])))
	}
}

func (a *account) sum(r recordReader) {
	parts := []string{wording.Plural(a.records, "record")}
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(a.bad, "not understood")
	add(r.Other(), "about something else")
	add(r.Inside(), "of processes whose way into their container it does not show")
	fmt.Fprintf(a.to, "%s: %s, %s\n", printable.Text(a.file), a.format, strings.Join(parts, ", "))
}

// merged gives the observations of several files in order of time, as far as
// each of them is in order.
func merged(all []iter.Seq2[event.Observation, error]) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		type head struct {
			o    event.Observation
			err  error
			next func() (event.Observation, error, bool)
		}
		var heads []*head
		for _, seq := range all {
			next, stop := iter.Pull2(seq)
			defer stop()
			h := &head{next: next}
			var ok bool
			if h.o, h.err, ok = next(); ok {
				heads = append(heads, h)
			}
		}
		for len(heads) > 0 {
			first := 0
			for i, h := range heads {
				if h.err != nil { // before anything that is younger
					first = i
					break
				}
				if h.o.Head().Time.Before(heads[first].o.Head().Time) {
					first = i
				}
			}
			h := heads[first]
			if !yield(h.o, h.err) || h.err != nil {
				return
			}
			var ok bool
			if h.o, h.err, ok = h.next(); !ok {
				heads = slices.Delete(heads, first, first+1)
			}
		}
	}
}

// FormatsHelp lists the formats of other tools' logs.
func FormatsHelp() string {
	var b strings.Builder
	for _, f := range logFormats() {
		fmt.Fprintf(&b, "  %-14s %s\n", f.name, f.about)
	}
	return b.String()
}
