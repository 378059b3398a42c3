// Package export reads the API server's audit events out of what keeps or ships
// them: the log file itself, and what Amazon's, Google's and Microsoft's managed
// Kubernetes make of it.
//
// The audit event inside is the same (package audit); what the wrapper leaves out
// is marked unknown. An export is a selection: filters, retention and size limits
// of the service that keeps it leave out what they do without a word.
package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/lib/logfile"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// Form is a form in which audit events are kept.
type Form string

// The forms.
const (
	// Native is the API server's own log, audit.k8s.io/v1, an event a line, or
	// the EventLists that its webhook sends.
	Native Form = "kube-audit"
	// EKS is a log group of CloudWatch: the output of `aws logs
	// filter-log-events`, an export to S3 ("TIME EVENT" a line), or what a
	// subscription delivers. Source: CloudWatch Logs' API reference
	// (FilteredLogEvent, subscription filters).
	EKS Form = "eks"
	// GKE is Cloud Logging's LogEntry with an AuditLog as protoPayload: the
	// output of `gcloud logging read --format=json` or a sink. It is made of the
	// audit event and does not have all of it; see gke.go.
	GKE Form = "gke"
	// AKS is a resource log of the categories kube-audit and kube-audit-admin, as
	// diagnostic settings send it to storage or Event Hubs. The latter has no
	// gets: kubectl exec is one (channels.md §1, fact 1).
	AKS Form = "aks"
)

// Sniff returns the form of a record; false when it is none of them.
func Sniff(record []byte) (Form, bool) {
	var w wrapper
	if _, rest, ok := stamped(record); ok {
		record = rest
		if isEvent(record) {
			return EKS, true
		}
	}
	if json.Unmarshal(record, &w) != nil {
		return "", false
	}
	switch {
	case w.Kind == "Event" || w.Kind == "EventList":
		return Native, strings.HasPrefix(w.APIVersion, "audit.k8s.io/")
	case w.ProtoPayload != nil:
		return GKE, true
	case strings.HasPrefix(w.Category, "kube-audit"), w.columns():
		return AKS, true
	case w.Message != "" && w.Timestamp != nil && isEvent([]byte(w.Message)), w.MessageType != "":
		return EKS, true
	}
	return "", false
}

func isEvent(b []byte) bool { return bytes.Contains(b, []byte(`"audit.k8s.io/`)) }

// Reader makes observations of one file. It is not safe for concurrent use.
type Reader struct {
	form    Form
	greeted bool
	admin   bool
	other   int
	begun   map[string]time.Time // GKE: when operations began
}

// New returns a reader of a form.
func New(form Form) *Reader { return &Reader{form: form, begun: map[string]time.Time{}} }

// Inside is always 0: requests are not in containers.
func (r *Reader) Inside() int { return 0 }

// Other counts events that concern no command.
func (r *Reader) Other() int { return r.other }

// wrapper is the members by which the forms are told apart and unwrapped.
type wrapper struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	// CloudWatch
	Message     string          `json:"message"`
	Timestamp   json.RawMessage `json:"timestamp"`
	StreamName  string          `json:"logStreamName"`
	MessageType string          `json:"messageType"`
	Stream      string          `json:"logStream"`
	Events      []struct {
		Message string `json:"message"`
	} `json:"logEvents"`
	// Cloud Logging
	ProtoPayload json.RawMessage `json:"protoPayload"`
	// Azure
	Category   string `json:"category"`
	Properties struct {
		Log string `json:"log"`
	} `json:"properties"`
	AuditID    json.RawMessage `json:"AuditId"`
	RequestURI json.RawMessage `json:"RequestUri"`
	LogColumn  json.RawMessage `json:"log_s"`
}

// columns reports whether the record is a row of a Log Analytics table.
func (w *wrapper) columns() bool {
	return w.AuditID != nil && w.RequestURI != nil || w.LogColumn != nil
}

var (
	errForm = errors.New("not in this form")
	errUTF8 = errors.New("not UTF-8, as JSON is")
	// ErrColumns says that a record is a row of a table.
	ErrColumns = fmt.Errorf("rows of a Log Analytics table are %w: export the resource logs to storage or Event Hubs", logfile.ErrRefused)
)

// Record reads one record.
func (r *Reader) Record(data []byte) ([]event.Observation, error) {
	if !utf8.Valid(data) {
		return nil, errUTF8
	}
	switch r.form {
	case Native:
		return r.native(data)
	case EKS:
		if _, rest, ok := stamped(data); ok {
			return r.event(rest)
		}
	case GKE:
		return r.entry(data)
	case AKS:
	}
	var w wrapper
	if err := plainjson.Unmarshal(data, &w); err != nil {
		return nil, err
	}
	if r.form == AKS {
		return r.aks(&w)
	}
	return r.eks(&w)
}

func (r *Reader) native(data []byte) ([]event.Observation, error) {
	if !bytes.Contains(data[:min(len(data), 200)], []byte(`"EventList"`)) {
		return r.event(data)
	}
	var out []event.Observation
	var bad error
	n, err := audit.ParseList(data, func(q event.KubeRequest) { out = append(out, r.say(q)...) }, func(_ []byte, err error) { bad = err })
	r.other += n - len(out)
	return out, errors.Join(err, bad)
}

func (r *Reader) eks(w *wrapper) ([]event.Observation, error) {
	stream, messages := w.StreamName, []string{w.Message}
	switch {
	case w.MessageType == "CONTROL_MESSAGE":
		return nil, nil
	case w.MessageType == "DATA_MESSAGE":
		stream, messages = w.Stream, nil
		for _, e := range w.Events {
			messages = append(messages, e.Message)
		}
	case w.MessageType != "" || w.Message == "":
		return nil, errForm
	}
	if stream != "" && !strings.HasPrefix(stream, "kube-apiserver-audit") {
		r.other += len(messages)
		return nil, nil
	}
	var out []event.Observation
	for _, m := range messages {
		obs, err := r.event([]byte(m))
		if err != nil {
			return out, err
		}
		out = append(out, obs...)
	}
	return out, nil
}

func (r *Reader) aks(w *wrapper) ([]event.Observation, error) {
	switch {
	case w.columns():
		return nil, ErrColumns
	case w.Category == "":
		return nil, errForm
	case w.Category != "kube-audit" && w.Category != "kube-audit-admin":
		r.other++
		return nil, nil
	}
	r.admin = w.Category == "kube-audit-admin"
	return r.event([]byte(w.Properties.Log))
}

// event reads an audit event.
func (r *Reader) event(data []byte) ([]event.Observation, error) {
	var q event.KubeRequest
	ok, err := audit.Parse(data, &q)
	if err != nil || !ok {
		if err == nil {
			r.other++
		}
		return nil, err
	}
	return r.say(q), nil
}

// say reports a request, and before the first one what kind of a log this is.
func (r *Reader) say(q event.KubeRequest) []event.Observation {
	if r.greeted {
		return []event.Observation{q}
	}
	r.greeted = true
	s := event.WitnessState{
		Header: event.Header{Time: q.Received, Witness: event.WitnessAudit}, From: q.Received, Up: true, Partial: true,
	}
	if r.admin {
		s.Lacks = append(s.Lacks, "gets, so no kubectl exec by WebSocket")
	}
	if r.form == GKE {
		s.Lacks = append(s.Lacks, "the query (container, terminal)", "groups", "HTTP status")
	}
	return []event.Observation{s, q}
}

// stamped cuts "TIME EVENT", a line of CloudWatch's export to S3.
func stamped(line []byte) (time.Time, []byte, bool) {
	stamp, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(stamp) > 40 || len(stamp) < 20 || stamp[0] == '{' {
		return time.Time{}, nil, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	return t, rest, err == nil
}

func unknownStatus(code int) error { return fmt.Errorf("status %d is no code of google.rpc", code) }
