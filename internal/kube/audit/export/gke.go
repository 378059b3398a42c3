package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// entry is a LogEntry with an AuditLog of serviceName k8s.io.
//
// Source: Cloud Logging's LogEntry, Cloud Audit Logs' AuditLog, and the conversion
// in sysdiglabs/stackdriver-webhook-bridge, converter/converter.go: methodName is
// "io.k8s." group, version, resource, subresource and verb; resourceName is
// "GROUP/VERSION/namespaces/NS/RESOURCE/NAME/SUBRESOURCE", with "core" for the
// empty group. There is no URI and no query: which container, with a terminal or
// not, is unknown, and so is the command, unless the label command.gke.io/command
// has it, joined. There is one time for each entry; of a stream, the one of its
// first entry is when it was asked for.
type entry struct {
	InsertID  string            `json:"insertId"`
	Timestamp time.Time         `json:"timestamp"`
	Labels    map[string]string `json:"labels"`
	Operation struct {
		ID    string `json:"id"`
		First bool   `json:"first"`
		Last  bool   `json:"last"`
	} `json:"operation"`
	Payload *struct {
		Service        string `json:"serviceName"`
		Method         string `json:"methodName"`
		Resource       string `json:"resourceName"`
		Authentication struct {
			Principal string `json:"principalEmail"`
		} `json:"authenticationInfo"`
		Metadata struct {
			IP    string `json:"callerIp"`
			Agent string `json:"callerSuppliedUserAgent"`
		} `json:"requestMetadata"`
		Status struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"status"`
		Request  json.RawMessage `json:"request"`
		Response json.RawMessage `json:"response"`
	} `json:"protoPayload"`
}

const commandLabel = "command.gke.io/command"

var errEntry = errors.New("no LogEntry with an AuditLog and a time")

// entry reads one LogEntry.
func (r *Reader) entry(data []byte) ([]event.Observation, error) {
	var e entry
	if err := plainjson.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	switch {
	case e.Payload == nil || e.Timestamp.IsZero():
		return nil, errEntry
	case e.Payload.Service != "" && e.Payload.Service != "k8s.io", !strings.HasPrefix(e.Payload.Method, "io.k8s."):
		r.other++
		return nil, nil
	}
	made, err := r.auditEvent(&e)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(made)
	if err != nil {
		return nil, err
	}
	var q event.KubeRequest
	ok, err := audit.Parse(raw, &q)
	if err != nil || !ok {
		if err == nil {
			r.other++
		}
		return nil, err
	}
	q.URI, q.NoQuery = "", true
	if command := e.Labels[commandLabel]; command != "" && q.Argv == nil {
		q.Argv, q.Joined = []string{command}, true
	}
	return r.say(q), nil
}

// auditEvent is what of an audit event a LogEntry has.
type auditEvent struct {
	Kind        string            `json:"kind"`
	ID          string            `json:"auditID"`
	Stage       string            `json:"stage"`
	Verb        string            `json:"verb"`
	User        map[string]string `json:"user"`
	Sources     []string          `json:"sourceIPs,omitempty"`
	Agent       string            `json:"userAgent,omitempty"`
	Ref         objectRef         `json:"objectRef"`
	Status      *status           `json:"responseStatus,omitempty"`
	Request     json.RawMessage   `json:"requestObject,omitempty"`
	Response    json.RawMessage   `json:"responseObject,omitempty"`
	Received    time.Time         `json:"requestReceivedTimestamp"`
	At          time.Time         `json:"stageTimestamp"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type objectRef struct {
	Resource    string `json:"resource"`
	Subresource string `json:"subresource,omitempty"`
	Group       string `json:"apiGroup,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
}

type status struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
}

func (r *Reader) auditEvent(e *entry) (*auditEvent, error) {
	p := e.Payload
	ref, err := refOf(p.Resource)
	if err != nil {
		return nil, err
	}
	id := e.Operation.ID
	if id == "" {
		id = e.InsertID
	}
	out := &auditEvent{
		Kind: "Event", ID: id, Stage: "ResponseComplete", Verb: p.Method[strings.LastIndexByte(p.Method, '.')+1:],
		User: map[string]string{"username": p.Authentication.Principal}, Agent: p.Metadata.Agent, Ref: ref,
		Request: p.Request, Response: p.Response, Received: r.began(e, id), At: e.Timestamp, Annotations: e.Labels,
	}
	if p.Metadata.IP != "" {
		out.Sources = []string{p.Metadata.IP}
	}
	if streams[ref.Subresource] && !(e.Operation.Last && !e.Operation.First) {
		out.Stage = "ResponseStarted" // how long it lasts, only a last entry tells
	}
	if p.Status.Code != 0 {
		code, ok := httpStatus[p.Status.Code]
		if !ok {
			return nil, unknownStatus(p.Status.Code)
		}
		out.Status = &status{Code: code, Message: p.Status.Message}
	}
	return out, nil
}

// began returns when the operation of e began: the time of its first entry.
func (r *Reader) began(e *entry, id string) time.Time {
	if t, ok := r.begun[id]; ok {
		if e.Operation.Last {
			delete(r.begun, id)
		}
		return t
	}
	if e.Operation.First && !e.Operation.Last {
		if len(r.begun) >= begunMax {
			clear(r.begun)
		}
		r.begun[id] = e.Timestamp
	}
	return e.Timestamp
}

const begunMax = 1 << 16

var streams = map[string]bool{"exec": true, "attach": true, "portforward": true}

// httpStatus is the HTTP status that a code of google.rpc.Code stands for
// (google/rpc/code.proto).
var httpStatus = map[int]int{
	1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503,
	15: 500, 16: 401,
}

// refOf reads a resourceName.
func refOf(name string) (objectRef, error) {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || len(parts) > 10 {
		return objectRef{}, fmt.Errorf("resourceName %.80q", name)
	}
	ref := objectRef{Group: parts[0]}
	if ref.Group == "core" {
		ref.Group = ""
	}
	parts = parts[2:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		ref.Namespace, parts = parts[1], parts[2:]
	}
	ref.Resource = parts[0]
	if len(parts) > 1 {
		ref.Name = parts[1]
	}
	if len(parts) > 2 {
		ref.Subresource = parts[2]
	}
	return ref, nil
}
