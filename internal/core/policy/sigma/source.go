package sigma

import (
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/nearest"
)

// source is a log source: what its fields are called here, and why others are
// refused.
type source struct {
	name   string
	fields map[string]field
	// without says, by field or by what stands before a point in its name, why
	// there is none.
	without map[string]string
	// scope puts a condition over one event into one over a session.
	scope func(condition string) string
	// requests are the requests of which sessions are made; nil when that says
	// nothing about the source.
	requests []attack.APIRequest
}

// field is how a field of Sigma's is asked for.
type field struct {
	kind kind
	expr string // CEL; of kind command the program
	// known lists all values that the field can have here, of kind closed.
	known []string
	// of reads the field of a request, of kind closed.
	of func(attack.APIRequest) []string
}

type kind uint8

const (
	text    kind = iota
	command      // the command line of a program
	number
	list   // of texts
	closed // a text of a few, always in lower case
)

func (t *translator) logsource(p *pair) *source {
	keys := t.mapping(p.value)
	product, category, service := t.text(keys["product"]), t.text(keys["category"]), t.text(keys["service"])
	switch {
	case product == "linux" && category == "process_creation" && service == "":
		return processes
	case product == "kubernetes" && service == "audit" && (category == "" || category == "application" || category == "audit"):
		return audit
	}
	var named []string
	for _, k := range []string{"product", "category", "service"} {
		if v := t.text(keys[k]); v != "" {
			named = append(named, k+" "+v)
		}
	}
	t.errorf(p.value, 0, "there are `product: linux` with `category: process_creation`, and `product: kubernetes` with `service: audit`",
		"the log source %s is not one that sessions are made of", strings.Join(named, ", "))
	return nil
}

// field finds what a name of Sigma's is here.
func (t *translator) field(p *pair, name string) (field, bool) {
	f, ok := t.source.fields[name]
	if ok {
		return f, true
	}
	for prefix := name; ; {
		if why := t.source.without[prefix]; why != "" {
			t.errorf(p.key, 0, "", "the field %q is not supported: %s", name, why)
			return f, false
		}
		i := strings.LastIndexByte(prefix, '.')
		if i < 0 {
			break
		}
		prefix = prefix[:i]
	}
	known := slices.Collect(maps.Keys(t.source.fields))
	hint := nearest.Suggestion(name, known)
	if hint == "" {
		hint = "docs/guide/sigma.md lists the fields"
	}
	t.errorf(p.key, 0, hint, "the field %q is not one of %s that sessions carry", name, t.source.name)
	return f, false
}

// processes is process creation on Linux: an event is a program that ran in a
// session.
var processes = &source{
	name: "process creation",
	fields: map[string]field{
		"Image":             {kind: text, expr: "p.exe"},
		"CommandLine":       {kind: command, expr: "p"},
		"ParentImage":       {kind: text, expr: "p.parent.exe"},
		"ParentCommandLine": {kind: command, expr: "p.parent"},
		"User":              {kind: text, expr: "p.user"},
		"ProcessId":         {kind: number, expr: "p.pid"},
		"ParentProcessId":   {kind: number, expr: "p.ppid"},
	},
	without: map[string]string{
		"CurrentDirectory":  "the working directory is not recorded",
		"LogonId":           "the login of a single process is not recorded",
		"LogonGuid":         "the login of a single process is not recorded",
		"TerminalSessionId": "the login of a single process is not recorded",
		"ParentUser":        "the user of the parent is not recorded",
		"IntegrityLevel":    "only Windows has it",
		"OriginalFileName":  "only programs of Windows carry it",
		"Description":       "only programs of Windows carry it",
		"Product":           "only programs of Windows carry it",
		"Company":           "only programs of Windows carry it",
		"FileVersion":       "only programs of Windows carry it",
		"Hashes":            "programs are not hashed", "md5": "programs are not hashed", "sha1": "programs are not hashed",
		"sha256": "programs are not hashed", "imphash": "programs are not hashed",
		"ProcessGuid": "only Sysmon has it", "ParentProcessGuid": "only Sysmon has it", "UtcTime": "ask for the time of the session in a rule of your own",
	},
	scope: func(c string) string { return "session.programs.exists(p, " + c + ")" },
}

const (
	objectSaid = "sessions keep of what was written only the commands"
	answerSaid = "sessions keep of the answer only whether the request failed"
)

// audit is the audit log of the Kubernetes API server: an event is the request
// that asked for a session.
var audit = &source{
	name:     "the audit log",
	requests: attack.AllAPIRequests(),
	fields: map[string]field{
		"verb":                      closedField("session.verb", func(r attack.APIRequest) []string { return r.Verbs }),
		"objectRef.apiGroup":        closedField("session.api.group", apiGroup),
		"apiGroup":                  closedField("session.api.group", apiGroup), // the public rules mean that; events have no such field
		"objectRef.resource":        closedField("session.api.resource", func(r attack.APIRequest) []string { return []string{r.Resource} }),
		"objectRef.subresource":     closedField("session.api.subresource", func(r attack.APIRequest) []string { return []string{r.Subresource} }),
		"objectRef.namespace":       {kind: text, expr: "session.target.namespace"},
		"objectRef.name":            {kind: text, expr: "session.api.name"},
		"user.username":             {kind: text, expr: "session.api.user"},
		"user.groups":               {kind: list, expr: "session.api.groups"},
		"impersonatedUser.username": {kind: text, expr: "session.api.impersonated"},
		"userAgent":                 {kind: text, expr: "session.actor.user_agent"},
		"sourceIPs":                 {kind: text, expr: "session.actor.address"},
		"auditID":                   {kind: text, expr: "session.audit_id"},
	},
	without: map[string]string{
		"requestURI":       "sessions keep what was asked for, not how it was written",
		"responseStatus":   answerSaid,
		"responseObject":   answerSaid,
		"requestObject":    objectSaid,
		"hostPath":         "it is no field of an audit event, and " + objectSaid,
		"capabilities":     "it is no field of an audit event, and " + objectSaid,
		"annotations":      "sessions do not keep them",
		"user":             "of the user there are username and groups",
		"impersonatedUser": "of the impersonated user there is the username",
		"objectRef":        "of the object there are apiGroup, resource, subresource, namespace and name",
		"stage":            "a session is made of all stages of a request",
		"level":            "it says how much is logged, and nothing of the request",
		"kind":             "every audit event has the same", "apiVersion": "every audit event has the same",
		"requestReceivedTimestamp": "ask for the time of the session in a rule of your own",
		"stageTimestamp":           "ask for the time of the session in a rule of your own",
	},
	scope: func(c string) string { return c },
}

func apiGroup(r attack.APIRequest) []string { return []string{r.Group} }

// closedField is a field of requests of which all values are known.
func closedField(expr string, of func(attack.APIRequest) []string) field {
	f := field{kind: closed, expr: expr, of: of}
	for _, r := range attack.AllAPIRequests() {
		for _, v := range of(r) {
			if v != "" && !slices.Contains(f.known, v) {
				f.known = append(f.known, v)
			}
		}
	}
	slices.Sort(f.known)
	return f
}

// kindNames say what a field is, in an error.
var kindNames = map[kind]string{text: "a text", command: "a command line", number: "a number", list: "a list of texts", closed: "a text"}
