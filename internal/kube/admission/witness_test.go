package admission_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.yaml.in/yaml/v4"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
)

const execReview = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1","resource":{"version":"v1","resource":"pods"},
"subResource":"exec","operation":"CONNECT","name":"web","namespace":"shop","userInfo":{"username":"ann"},"object":{"container":"app","command":["id"]}}}`

// running is a witness that serves.
type running struct {
	*admission.Witness
	url    string
	client *http.Client
	seen   chan event.Observation
}

func serve(t *testing.T, o admission.Options) *running {
	t.Helper()
	cert, ca, err := admission.Certificate(t.TempDir(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if o.TLS, err = admission.ServerTLS(cert, ""); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Witness: admission.New(o), url: "https://" + l.Addr().String(), client: trusting(ca), seen: make(chan event.Observation, 64)}
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l, func(o event.Observation) { r.seen <- o }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if s, ok := (<-r.seen).(event.WitnessState); !ok || !s.Up {
		t.Fatalf("first is %+v", s)
	}
	return r
}

func trusting(ca []byte) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 10 * time.Second}
}

func (r *running) post(t *testing.T, body io.Reader) (code int, answer string) {
	t.Helper()
	res, err := r.client.Post(r.url+"/any", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestAnswer(t *testing.T) {
	r := serve(t, admission.Options{Gate: admission.NewGate(admission.GateOptions{})})
	code, body := r.post(t, strings.NewReader(execReview))
	var answer struct {
		APIVersion, Kind string
		Response         struct {
			UID              string
			Allowed          bool
			AuditAnnotations map[string]string
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if a := answer; a.APIVersion != "admission.k8s.io/v1" || a.Kind != "AdmissionReview" || a.Response.UID != "u-1" || !a.Response.Allowed {
		t.Errorf("answer %s", body)
	}
	got := (<-r.seen).(event.KubeAdmission)
	if nonce := answer.Response.AuditAnnotations["nonce"]; len(nonce) != 32 || got.Nonce != nonce {
		t.Errorf("nonce %q answered, %q reported", nonce, got.Nonce)
	}
	if !got.Alone || got.Time.Before(got.Arrived) || got.Arrived.IsZero() || got.Witness != event.WitnessAdmission || got.User.Name != "ann" {
		t.Errorf("reported %+v", got)
	}
}

// TestNotAReview: what is no review is answered with an error, upon which the
// API server goes on; the server survives all of it.
func TestNotAReview(t *testing.T) {
	r := serve(t, admission.Options{})
	for name, body := range map[string]io.Reader{
		"empty": strings.NewReader(""), "text": strings.NewReader("hello"), "cut": strings.NewReader(execReview[:200]),
		"large": io.LimitReader(neverEnding{}, 9<<20), "deep": strings.NewReader(strings.Repeat("[", 1<<20)),
	} {
		if code, _ := r.post(t, body); code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, code)
		}
	}
	res, err := r.client.Get(r.url + "/healthz")
	if err != nil || res.StatusCode != 200 {
		t.Errorf("healthz: %v", err)
	}
	res.Body.Close()
	if code, _ := r.post(t, iotest.OneByteReader(strings.NewReader(execReview))); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
	if s := r.Stats(); s.Bad != 5 || s.Reviews != 1 {
		t.Errorf("%+v", s)
	}
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) {
	return copy(b, bytes.Repeat([]byte(" "), len(b))), nil
}

// TestSlowReader: whoever reads the reports makes no request wait.
func TestSlowReader(t *testing.T) {
	w := admission.New(admission.Options{})
	h := w.Handler()
	for range 5000 { // nobody reads
		rec := discard{http.Header{}}
		req, err := http.NewRequest("POST", "/", strings.NewReader(execReview))
		if err != nil {
			t.Fatal(err)
		}
		h.ServeHTTP(rec, req)
	}
	if s := w.Stats(); s.Reviews != 5000 || s.Dropped == 0 || s.Reported+s.Dropped != 5000 {
		t.Errorf("%+v", s)
	}
}

// TestLate: an answer for which nobody waits any more is counted.
func TestLate(t *testing.T) {
	w := admission.New(admission.Options{})
	for _, waits := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		if !waits {
			cancel()
		}
		req, err := http.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(execReview))
		if err != nil {
			t.Fatal(err)
		}
		w.Handler().ServeHTTP(discard{http.Header{}}, req)
		cancel()
	}
	if s := w.Stats(); s.Reviews != 2 || s.Late != 1 {
		t.Errorf("%+v", s)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// TestCertificateAtOnce: whoever asks while another makes the certificates gets
// the same authority.
func TestCertificateAtOnce(t *testing.T) {
	dir := t.TempDir()
	var g errgroup.Group
	authorities := make([][]byte, 8)
	for i := range authorities {
		g.Go(func() (err error) {
			_, authorities[i], err = admission.Certificate(dir, []string{"10.0.0.1"})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, ca := range authorities {
		if !bytes.Equal(ca, authorities[0]) {
			t.Error("two authorities")
		}
	}
}

func TestCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub")
	_, ca, err := admission.Certificate(dir, []string{"10.0.0.1", "hook.shop.svc"})
	if err != nil {
		t.Fatal(err)
	}
	again, same, err := admission.Certificate(dir, []string{"10.0.0.1"})
	if err != nil || !bytes.Equal(ca, same) || again.Leaf.VerifyHostname("hook.shop.svc") != nil {
		t.Errorf("a certificate that fits was made again: %v", err)
	}
	other, same, err := admission.Certificate(dir, []string{"10.0.0.2"})
	if err != nil || !bytes.Equal(ca, same) || other.Leaf.VerifyHostname("10.0.0.2") != nil {
		t.Errorf("another name: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	if _, err := other.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "10.0.0.2"}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ca.key", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := admission.Certificate(dir, nil); err == nil {
		t.Error("a damaged authority was replaced: the API server would not know the new one")
	}
}

func TestManifest(t *testing.T) {
	for target, want := range map[string]string{
		"https://10.0.0.1:9443/x": "url: \"https://10.0.0.1:9443/x\"", "ops/sallyport": "port: 443", "ops/sallyport:8443": "port: 8443",
	} {
		b, err := admission.Manifest(target, []byte("ca"))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v\n%s", target, err, b)
		}
		var doc struct {
			Webhooks []struct {
				Name, FailurePolicy, SideEffects string
				Rules                            []struct{ Resources []string }
			}
		}
		if err := yaml.Unmarshal(b, &doc); err != nil || len(doc.Webhooks) != 1 || doc.Webhooks[0].Name != admission.WebhookName {
			t.Errorf("%s: %v, %+v", target, err, doc)
		}
		if !slices.Contains(doc.Webhooks[0].Rules[0].Resources, "pods/exec") {
			t.Errorf("rules %+v", doc.Webhooks[0].Rules)
		}
	}
	for _, target := range []string{"", "x", "http://h", "https://", "a/b/c", "a/b:0", "a/b:x", "https://h/?q", "https://u@h"} {
		if b, err := admission.Manifest(target, nil); err == nil {
			t.Errorf("%q is no target:\n%s", target, b)
		}
	}
}
