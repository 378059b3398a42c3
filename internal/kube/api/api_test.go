package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"
)

// TestRefusal: what the server says is told without the form in which it says it.
func TestRefusal(t *testing.T) {
	for body, want := range map[string]string{
		`{"kind":"Status","apiVersion":"v1","message":"secrets is forbidden","code":403}`: "secrets is forbidden",
		"a proxy's page\n": "403 Forbidden: a proxy's page",
		`{"kind":"Error"}`: `403 Forbidden: {"kind":"Error"}`,
		"":                 "403 Forbidden",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(body))
		}))
		defer s.Close()
		c, err := connect(&rest.Config{Host: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Get(t.Context(), "/metrics", JSON)
		if !IsStatus(err, http.StatusForbidden) || err.Error() != "get /metrics: "+want {
			t.Errorf("%q: %v; want %q", body, err, want)
		}
	}
}
