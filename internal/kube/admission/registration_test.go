package admission_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/kube/admission"
)

// manifestJSON is a manifest as an API server would return it.
func manifestJSON(t testing.TB, target string) []byte {
	t.Helper()
	text, err := admission.Manifest(target, []byte("PEM"))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseRegistration(t *testing.T) {
	want := admission.Registration{CA: []byte("PEM"), Ignore: true, Timeout: admission.Timeout, Exec: true}
	byURL, byService := want, want
	byURL.URL = "https://192.0.2.7:9443"
	byService.Service, byService.Server = "sallyport/hook", "hook.sallyport.svc"
	for target, want := range map[string]admission.Registration{"https://192.0.2.7:9443": byURL, "sallyport/hook:9443": byService} {
		got, err := admission.ParseRegistration(manifestJSON(t, target))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", target, err, diff)
		}
	}
	for _, bad := range []string{``, `{}`, `{"webhooks":[{"name":"other"}]}`, `{"webhooks":[{"name":"sessions.sallyport.dev"},{"name":"sessions.sallyport.dev"}]}`} {
		if got, err := admission.ParseRegistration([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
	other := `{"webhooks":[{"name":"sessions.sallyport.dev","failurePolicy":"Fail","rules":[{"operations":["CREATE"],"resources":["pods/exec"]},{"operations":["*"],"resources":["pods"]}]}]}`
	if got, err := admission.ParseRegistration([]byte(other)); err != nil || got.Ignore || got.Exec {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseRegistration(f *testing.F) {
	f.Add(manifestJSON(f, "https://192.0.2.7:9443"))
	f.Add(manifestJSON(f, "a/b"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := admission.ParseRegistration(body)
		if err == nil && !json.Valid(body) {
			t.Errorf("%q: %+v", body, got)
		}
	})
}
