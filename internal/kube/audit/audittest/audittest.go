// Package audittest makes audit events as a cluster's API server writes them:
// the same ones for the same seed. It is for tests and benchmarks.
package audittest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"
)

// Mix says what a corpus is made of.
type Mix struct {
	Seed     uint64
	Events   int
	Relevant float64 // the share of events that concern commands, 0 to 1
	// From is the first event's time; the zero value means a fixed one.
	From time.Time
}

// Lines returns a log: one event a line, in the order of time, as
// kube-apiserver's log backend writes it. What is relevant is spread evenly
// and counted.
func (m Mix) Lines() (log []byte, relevant int) {
	g := newGenerator(m)
	var b bytes.Buffer
	owed := 0.0
	for range m.Events {
		if owed += m.Relevant; owed >= 1 {
			owed--
			relevant++
			b.Write(g.line(g.command()))
		} else {
			b.Write(g.line(g.routine()))
		}
	}
	return b.Bytes(), relevant
}

// List returns the same events as the body of a webhook's POST.
func (m Mix) List() []byte {
	log, _ := m.Lines()
	items := bytes.ReplaceAll(bytes.TrimSuffix(log, []byte("\n")), []byte("\n"), []byte(","))
	return fmt.Appendf(nil, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%s]}`+"\n", items)
}

// Event has the members of an audit event in the order in which the API server
// writes them.
type Event struct {
	Kind         string            `json:"kind"`
	APIVersion   string            `json:"apiVersion"`
	Level        string            `json:"level"`
	AuditID      string            `json:"auditID"`
	Stage        string            `json:"stage"`
	RequestURI   string            `json:"requestURI"`
	Verb         string            `json:"verb"`
	User         User              `json:"user"`
	Impersonated *User             `json:"impersonatedUser,omitempty"`
	SourceIPs    []string          `json:"sourceIPs,omitempty"`
	UserAgent    string            `json:"userAgent,omitempty"`
	ObjectRef    *ObjectRef        `json:"objectRef,omitempty"`
	Status       *Status           `json:"responseStatus,omitempty"`
	Request      json.RawMessage   `json:"requestObject,omitempty"`
	Response     json.RawMessage   `json:"responseObject,omitempty"`
	Received     MicroTime         `json:"requestReceivedTimestamp"`
	At           MicroTime         `json:"stageTimestamp"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// User is an identity in an Event.
type User struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

// ObjectRef is what an Event is about.
type ObjectRef struct {
	Resource    string `json:"resource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	UID         string `json:"uid,omitempty"`
	APIGroup    string `json:"apiGroup,omitempty"`
	APIVersion  string `json:"apiVersion,omitempty"`
	Version     string `json:"resourceVersion,omitempty"`
	Subresource string `json:"subresource,omitempty"`
}

// Status is how the request of an Event came out.
type Status struct {
	Metadata struct{} `json:"metadata"`
	Status   string   `json:"status,omitempty"`
	Message  string   `json:"message,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Code     int      `json:"code,omitempty"`
}

// MicroTime is a time as audit events have it.
type MicroTime time.Time

// MarshalText implements encoding.TextMarshaler.
func (t MicroTime) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000Z"), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *MicroTime) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339Nano, string(b))
	*t = MicroTime(v)
	return err
}

type generator struct {
	*rand.Rand
	now time.Time
}

func newGenerator(m Mix) *generator {
	if m.From.IsZero() {
		m.From = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	}
	return &generator{Rand: rand.New(rand.NewPCG(m.Seed, 1)), now: m.From} //nolint:gosec // the same for the same seed is what is wanted
}

func (g *generator) line(e Event) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // the type can be marshalled
	}
	return append(b, '\n')
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// event returns an event that is complete, with its times, id and outcome.
func (g *generator) event(verb, uri string, u User, agent string, ref *ObjectRef) Event {
	g.now = g.now.Add(time.Duration(g.IntN(4000)) * time.Microsecond)
	e := Event{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: "Metadata", AuditID: g.uuid(), Stage: "ResponseComplete",
		RequestURI: uri, Verb: verb, User: u, SourceIPs: []string{fmt.Sprintf("10.99.%d.%d", g.IntN(4), 1+g.IntN(250))},
		UserAgent: agent, ObjectRef: ref, Status: &Status{Code: 200},
		At: MicroTime(g.now), Received: MicroTime(g.now.Add(-time.Duration(900+g.IntN(20000)) * time.Microsecond)),
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
	}
	return e
}

func (g *generator) uuid() string {
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", g.Uint32(), g.IntN(1<<16), g.IntN(1<<12), g.IntN(1<<12), g.Int64N(1<<48))
}

func (g *generator) node() string { return fmt.Sprintf("worker-%02d.cluster.example", g.IntN(40)) }
func (g *generator) namespace() string {
	return pick(g, "default", "shop", "payments", "kube-system", "monitoring", "ci")
}
func (g *generator) pod() string {
	return fmt.Sprintf("%s-%09x-%05x", pick(g, "web", "api", "worker", "cache", "ledger"), g.IntN(1<<36), g.IntN(1<<20))
}

func (g *generator) kubelet() (User, string) {
	node := g.node()
	return User{
		Username: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"},
		Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + g.hex(64)}},
	}, "kubelet/v1.37.2 (linux/amd64) kubernetes/5b5a2f8"
}

func (g *generator) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[g.IntN(16)]
	}
	return string(b)
}

func (g *generator) serviceAccount(namespace, name string) User {
	return User{
		Username: "system:serviceaccount:" + namespace + ":" + name, UID: g.uuid(),
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		Extra: map[string][]string{
			"authentication.kubernetes.io/credential-id": {"JTI=" + g.uuid()},
			"authentication.kubernetes.io/node-name":     {g.node()},
			"authentication.kubernetes.io/node-uid":      {g.uuid()},
			"authentication.kubernetes.io/pod-name":      {g.pod()},
			"authentication.kubernetes.io/pod-uid":       {g.uuid()},
		},
	}
}

func (g *generator) person() (User, string) {
	return User{
		Username: pick(g, "ana", "bo", "chen", "dara") + "@example.com", Groups: []string{"developers", "oidc:team-" + g.hex(4), "system:authenticated"},
	}, "kubectl/v1.36.1 (linux/amd64) kubernetes/0a1b2c3"
}

// query encodes parameters in the order given: key, value, key, value, …
func query(pairs ...string) string {
	var b []byte
	for i := 0; i+1 < len(pairs); i += 2 {
		b = append(b, '&')
		b = append(b, url.QueryEscape(pairs[i])+"="+url.QueryEscape(pairs[i+1])...)
	}
	return string(b[1:])
}
