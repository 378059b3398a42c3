// Package otlp writes records as OpenTelemetry log records for OTLP over HTTP,
// in protobuf.
//
// It uses the generated types of go.opentelemetry.io/proto/otlp and not the
// exporter of the OpenTelemetry SDK: that one batches in memory, answers for
// nothing after a restart and does not tell a refusal from a failure, all of
// which is package export's work here. Only logs/v1 is linked, not the collector
// service with its gRPC gateway: LogsData has the same fields in the same places
// as ExportLogsServiceRequest. Each message is a LogsData of its own, and
// protobuf messages written one behind the other read as one with all that they
// repeat.
package otlp

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export"
)

// schemaURL is the version of the semantic conventions whose names are used.
const schemaURL = "https://opentelemetry.io/schemas/1.44.0"

// New returns the format.
func New(o export.Origin) export.Format {
	return export.Format{
		Name: "otlp", ContentType: "application/x-protobuf",
		Encode: func(r export.Record) ([][]byte, error) {
			data, err := logs(o, r)
			if err != nil {
				return nil, err
			}
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(data)
			return [][]byte{b}, err
		},
	}
}

// severities are OpenTelemetry's, by a finding's.
var severities = map[finding.Severity]logspb.SeverityNumber{
	finding.Info: logspb.SeverityNumber_SEVERITY_NUMBER_INFO, finding.Low: logspb.SeverityNumber_SEVERITY_NUMBER_INFO3,
	finding.Medium: logspb.SeverityNumber_SEVERITY_NUMBER_WARN, finding.High: logspb.SeverityNumber_SEVERITY_NUMBER_ERROR,
	finding.Critical: logspb.SeverityNumber_SEVERITY_NUMBER_FATAL,
}

func logs(o export.Origin, r export.Record) (*logspb.LogsData, error) {
	whole, err := tree(r)
	if err != nil {
		return nil, err
	}
	a := attributes{}
	name := "sallyport.finding"
	if r.Session != nil {
		name = "sallyport.session"
		a.session(r.Session)
	} else {
		a.finding(r.Finding)
	}
	a["sallyport.record"] = whole
	resource := attributes{}
	resource.set("service.name", "sallyport").set("service.version", o.Version).set("host.name", o.Node(r))
	return &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{
		Resource: &resourcepb.Resource{Attributes: resource.list()}, SchemaUrl: schemaURL,
		ScopeLogs: []*logspb.ScopeLogs{{
			Scope: &commonpb.InstrumentationScope{Name: "sallyport", Version: o.Version},
			LogRecords: []*logspb.LogRecord{{
				TimeUnixNano: uint64(max(0, r.Time().UnixNano())), SeverityNumber: severities[r.Severity()],
				SeverityText: r.Severity().String(), Body: text(r.Summary()), Attributes: a.list(), EventName: name,
			}},
		}},
	}}}, nil
}

// tree returns the record's public JSON form as a value.
func tree(r export.Record) (*commonpb.AnyValue, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return value(v), nil
}

// value converts what encoding/json reads.
func value(v any) *commonpb.AnyValue {
	switch v := v.(type) {
	case string:
		return text(v)
	case bool:
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}}
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return number(int64(v))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}}
	case []any:
		list := &commonpb.ArrayValue{}
		for _, e := range v {
			list.Values = append(list.Values, value(e))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}
	case map[string]any:
		a := attributes{}
		for k, e := range v {
			a[k] = value(e)
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: a.list()}}}
	}
	return &commonpb.AnyValue{}
}

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: export.UTF8(s)}}
}

func number(n int64) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}
}

func texts(list []string) *commonpb.AnyValue {
	v := &commonpb.ArrayValue{}
	for _, s := range list {
		v.Values = append(v.Values, text(s))
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: v}}
}

type attributes map[string]*commonpb.AnyValue

// set leaves out what is not known.
func (a attributes) set(key, v string) attributes {
	if v != "" {
		a[key] = text(v)
	}
	return a
}

// list returns the attributes in order of their names.
func (a attributes) list() []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for _, k := range slices.Sorted(maps.Keys(a)) {
		out = append(out, &commonpb.KeyValue{Key: export.UTF8(k), Value: a[k]})
	}
	return out
}

func (a attributes) session(s *session.Session) {
	a.set("session.id", string(s.ID)).set("sallyport.kind", string(s.Kind)).set("sallyport.channel", string(s.Channel))
	a.set("sallyport.state", string(s.State)).set("sallyport.attribution", string(s.Attribution.Level))
	a.set("sallyport.actor", finding.Name(s.Actor)).set("client.address", s.Actor.Address)
	a.set("user_agent.original", s.Actor.UserAgent).set("sallyport.unexplained", s.Unexplained.Reason)
	if c := export.Candidates(s); len(c) > 0 {
		a["sallyport.candidates"] = texts(c)
	}
	if len(s.Argv) > 0 {
		a["sallyport.request.args"] = texts(s.Argv)
	}
	a.target(string(s.Target.ContainerID), s.Target.ContainerName, s.Target.Image, s.Target.Namespace, s.Target.Pod)
	a.set("k8s.pod.uid", s.Target.PodUID).set("container.image.id", s.Target.ImageID)
	if len(s.Processes) == 0 {
		return
	}
	p := s.Processes[0]
	a["process.pid"], a["process.creation.time"] = number(int64(p.PID)), text(p.Start.UTC().Format("2006-01-02T15:04:05.000000000Z"))
	a.set("process.executable.path", p.Exe)
	if p.Exe != "" {
		a.set("process.executable.name", path.Base(p.Exe))
	}
	if len(p.Argv) > 0 {
		a["process.command_args"] = texts(p.Argv)
	}
	a["process.interactive"] = value(p.TTY != "" || s.TTY)
	a["process.user.id"] = number(int64(p.UID))
	if p.NSPID != 0 {
		a["process.vpid"] = number(int64(p.NSPID))
	}
	if p.ExitCode != nil {
		a["process.exit.code"] = number(int64(*p.ExitCode))
	}
}

func (a attributes) target(id, name, image, namespace, pod string) {
	a.set("container.id", id).set("container.name", name).set("container.image.name", image)
	a.set("k8s.namespace.name", namespace).set("k8s.pod.name", pod)
}

func (a attributes) finding(f *finding.Finding) {
	a.set("sallyport.finding", string(f.ID)).set("sallyport.rule", f.Rule).set("sallyport.subject", f.Subject)
	a.set("session.id", string(f.Session)).set("sallyport.channel", string(f.Channel)).set("sallyport.kind", string(f.Kind))
	a.set("sallyport.effect", string(f.Effect))
	if len(f.Attack) > 0 {
		var list []string
		for _, t := range f.Attack {
			list = append(list, string(t))
		}
		a["sallyport.attack"] = texts(list)
	}
	if v := f.Actor; v != nil {
		a.set("sallyport.actor", v.Name).set("sallyport.attribution", string(v.Attribution)).set("client.address", v.Address)
	}
	if t := f.Target; t != nil {
		a.target(string(t.ContainerID), t.ContainerName, t.Image, t.Namespace, t.Pod)
	}
}

// Partly reads an ExportLogsServiceResponse. When the receiver rejected a part
// of the records it returns an *export.Refused, which is final: the protocol
// forbids to send them again, and does not say which they were.
func Partly(body []byte) error {
	success, _, err := field(body, 1, protowire.BytesType)
	if err != nil || success == nil {
		return err
	}
	message, _, err := field(success, 2, protowire.BytesType)
	if err != nil {
		return err
	}
	_, rejected, err := field(success, 1, protowire.VarintType)
	if err != nil || rejected == 0 {
		return err
	}
	return &export.Refused{Reason: fmt.Sprintf("%d log records rejected: %.500q", rejected, message), Final: true}
}

// field returns the last field of a number and type in a message.
func field(b []byte, want protowire.Number, kind protowire.Type) (text []byte, number uint64, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, 0, fmt.Errorf("read OTLP response: %w", protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return nil, 0, fmt.Errorf("read OTLP response: %w", protowire.ParseError(size))
		}
		if num == want && typ == kind {
			switch typ {
			case protowire.BytesType:
				text, _ = protowire.ConsumeBytes(b[n:])
			case protowire.VarintType:
				number, _ = protowire.ConsumeVarint(b[n:])
			default:
			}
		}
		b = b[n+size:]
	}
	return text, number, nil
}
