package export_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit/export"
	"github.com/sallyport/sallyport/internal/lib/logfile"
)

const inner = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseStarted",` +
	`"requestURI":"/api/v1/namespaces/n/pods/p/exec?command=id","verb":"get","user":{"username":"alice"},"sourceIPs":["192.0.2.1"],` +
	`"objectRef":{"resource":"pods","namespace":"n","name":"p","subresource":"exec"},"responseStatus":{"code":101},` +
	`"requestReceivedTimestamp":"2026-11-23T12:00:00.000001Z","stageTimestamp":"2026-11-23T12:00:00.5Z"}`

func quoted(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }

// TestForms: the same audit event comes out of every wrapper that keeps it whole.
func TestForms(t *testing.T) {
	for name, tc := range map[string]struct {
		form export.Form
		line string
	}{
		"native":           {export.Native, inner},
		"event list":       {export.Native, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + inner + `]}`},
		"eks filter":       {export.EKS, `{"logStreamName":"kube-apiserver-audit-1","timestamp":1,"message":"` + quoted(inner) + `","eventId":"1"}`},
		"eks subscription": {export.EKS, `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"kube-apiserver-audit-1","logEvents":[{"id":"1","timestamp":1,"message":"` + quoted(inner) + `"}]}`},
		"eks s3":           {export.EKS, `2026-11-23T12:00:01.000Z ` + inner},
		"aks":              {export.AKS, `{"time":"2026-11-23T12:00:01Z","category":"kube-audit","properties":{"log":"` + quoted(inner) + `\n","stream":"stdout"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			if form, ok := export.Sniff([]byte(tc.line)); !ok || form != tc.form {
				t.Errorf("taken for %q, %v", form, ok)
			}
			out, refused := story.Feed(t, export.New(tc.form), []byte(tc.line))
			if refused > 0 || len(out) != 2 {
				t.Fatalf("%d observations, %d refused", len(out), refused)
			}
			if s, ok := out[0].(event.WitnessState); !ok || !s.Partial || s.Witness != event.WitnessAudit {
				t.Errorf("first comes %#v", out[0])
			}
			q, ok := out[1].(event.KubeRequest)
			if !ok || q.User.Name != "alice" || q.Op != event.KubeExec || len(q.Argv) != 1 || q.Argv[0] != "id" || q.NoQuery {
				t.Errorf("%+v", out[1])
			}
		})
	}
}

func TestRefusedAndPassedOver(t *testing.T) {
	for name, tc := range map[string]struct {
		form export.Form
		line string
		err  bool
	}{
		"another stream":      {export.EKS, `{"logStreamName":"kube-apiserver-1","timestamp":1,"message":"text"}`, false},
		"a control message":   {export.EKS, `{"messageType":"CONTROL_MESSAGE","logEvents":[]}`, false},
		"a message cut short": {export.EKS, `{"logStreamName":"kube-apiserver-audit-1","message":"` + quoted(inner[:200]) + `"}`, true},
		"another category":    {export.AKS, `{"category":"guard","properties":{"log":"x"}}`, false},
		"a table's row":       {export.AKS, `{"AuditId":"a","RequestUri":"/"}`, true},
		"a name twice":        {export.AKS, `{"category":"kube-audit","category":"guard","properties":{"log":"x"}}`, true},
		"another service":     {export.GKE, `{"timestamp":"2026-11-23T12:00:01Z","protoPayload":{"serviceName":"container.googleapis.com","methodName":"x"}}`, false},
		"no time":             {export.GKE, `{"protoPayload":{"serviceName":"k8s.io","methodName":"io.k8s.core.v1.pods.exec.create"}}`, true},
		"no resource":         {export.GKE, `{"timestamp":"2026-11-23T12:00:01Z","protoPayload":{"methodName":"io.k8s.core.v1.pods.exec.create","resourceName":"x"}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := export.New(tc.form).Record([]byte(tc.line))
			if (err != nil) != tc.err || len(out) > 0 {
				t.Errorf("%v, %v", out, err)
			}
			if name == "a table's row" && !errors.Is(err, logfile.ErrRefused) {
				t.Errorf("%v is not a refusal of the form", err)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add(0, []byte(inner))
	f.Add(1, story.Raw(f, "falco-eks", "eks.json"))
	f.Add(2, story.Raw(f, "gke-tetragon", "gke.json"))
	f.Add(3, story.Raw(f, "aks", "aks.json"))
	f.Add(3, []byte(`{"category":"kube-audit","properties":{"log":"`+quoted(inner)+`"}}`))
	forms := []export.Form{export.Native, export.EKS, export.GKE, export.AKS}
	f.Fuzz(func(t *testing.T, n int, data []byte) {
		story.Feed(t, export.New(forms[uint(n)%uint(len(forms))]), data)
	})
}
