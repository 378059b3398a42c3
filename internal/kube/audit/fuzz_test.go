package audit_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

// FuzzParse demands that the parser never panics and that, where encoding/json
// reads an event too, both understand the same of what decides.
func FuzzParse(f *testing.F) {
	log, _ := audittest.Mix{Seed: 3, Events: 60, Relevant: 0.5}.Lines()
	for l := range strings.Lines(string(log)) {
		f.Add([]byte(l))
	}
	f.Add(line(f, base("get", `/x?command=\u0026"`, pod("exec"))))
	f.Fuzz(func(t *testing.T, in []byte) {
		var q event.KubeRequest
		relevant, err := audit.Parse(in, &q)
		var e audittest.Event
		if err != nil || json.Unmarshal(in, &e) != nil || odd(in) || e.ObjectRef == nil {
			return
		}
		if e.ObjectRef.Resource == "pods" && e.ObjectRef.Subresource == "exec" && e.ObjectRef.APIGroup == "" && !relevant {
			t.Errorf("an exec was passed over")
		}
		if !relevant {
			return
		}
		if q.URI != e.RequestURI || q.User.Name != e.User.Username || q.Verb != e.Verb || string(q.ID) != e.AuditID || !slices.Equal(q.Sources, e.SourceIPs) {
			t.Errorf("got %+v\nwant %+v", q, e)
		}
	})
}

// odd reports input in which encoding/json sees more than there is: it takes
// members of any case, the last of several, and mends what is not UTF-8.
func odd(in []byte) bool {
	var m map[string]json.RawMessage
	if json.Unmarshal(in, &m) != nil || !slices.Equal(in, []byte(strings.ToValidUTF8(string(in), ""))) {
		return true
	}
	for _, k := range []string{"requestURI", "objectRef", "user", "username", "resource", "subresource", "apiGroup", "verb", "auditID", "sourceIPs"} {
		if strings.Count(strings.ToLower(string(in)), `"`+strings.ToLower(k)+`"`) != 1 && k != "apiGroup" {
			return true
		}
	}
	return strings.Contains(strings.ToLower(string(in)), `\u00`) || strings.Contains(strings.ToLower(string(in)), "apigroup")
}

// FuzzURI compares the reading of a query with net/url's.
func FuzzURI(f *testing.F) {
	for _, s := range []string{"command=a&command=b", "command=%zz", "a;b&command=+%20", "container=x&container=y", "tty=&stdin=0", "%63ommand=a%26b"} {
		f.Add("/api/v1/namespaces/shop/pods/web/exec", s)
	}
	f.Add("/api/v1/nodes/n1/proxy/run/a/b/c", "cmd=a+b")
	f.Fuzz(func(t *testing.T, path, query string) {
		if strings.Contains(path, "?") || strings.Count(query, "&") > 5000 || strings.ToValidUTF8(path+query, "") != path+query {
			return
		}
		q, ok := parse(t, base("get", path+"?"+query, pod("exec")))
		values, _ := url.ParseQuery(query)
		if !ok || !slices.Equal(q.Argv, values["command"]) || q.Container != values.Get("container") {
			t.Errorf("got %q in %q, want %q in %q", q.Argv, q.Container, values["command"], values.Get("container"))
		}
		_, _ = parse(t, base("get", path+"?"+query, &audittest.ObjectRef{Resource: "nodes", Name: "n1", Subresource: "proxy"}))
	})
}

// FuzzObject reads arbitrary bodies.
func FuzzObject(f *testing.F) {
	f.Add([]byte(podBody))
	f.Add([]byte(`[{"op":"add","path":"/spec/ephemeralContainers/-","value":` + debugger + `}]`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		prefix := `{"stage":"ResponseComplete","verb":"patch","user":{},"objectRef":{"resource":"pods"},"stageTimestamp":"2026-11-25T12:00:00Z","requestReceivedTimestamp":"2026-11-25T12:00:00Z","requestObject":`
		var q event.KubeRequest
		_, _ = audit.Parse(append([]byte(prefix), append(body, '}')...), &q)
	})
}

// FuzzList reads arbitrary bodies of a webhook's POST.
func FuzzList(f *testing.F) {
	f.Add(audittest.Mix{Seed: 4, Events: 5, Relevant: 0.5}.List())
	f.Add([]byte(`{"kind":"EventList","items":[{},null,1]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		told := 0
		n, err := audit.ParseList(body, func(event.KubeRequest) { told++ }, func([]byte, error) { told++ })
		if err == nil && told > n {
			t.Errorf("%d items, %d told", n, told)
		}
	})
}
