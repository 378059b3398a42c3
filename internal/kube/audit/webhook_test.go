package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// caller is an API server.
type caller struct {
	t      *testing.T
	url    string
	client *http.Client
}

// listen starts a witness with a receiver and returns who may call it.
func listen(t *testing.T, change func(*WebhookOptions), o Options) (*world, *Witness, *caller) {
	t.Helper()
	id, err := EnsureIdentity(t.TempDir()+"/id", []string{"127.0.0.1", "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	opts, err := id.Options("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := make(chan net.Addr, 1)
	opts.Listening = func(a net.Addr) { address <- a }
	if change != nil {
		change(&opts)
	}
	o.Webhook = &opts
	w, witness := start(t, o)
	pair, err := tls.X509KeyPair(id.ClientCert, id.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(id.CA)
	c := &caller{t: t, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, ForceAttemptHTTP2: true, DisableCompression: true,
	}}}
	t.Cleanup(c.client.CloseIdleConnections)
	select {
	case a := <-address:
		c.url = "https://" + a.String() + "/audit"
	case <-time.After(10 * time.Second):
		t.Fatal("no listener")
	}
	return w, witness, c
}

func (c *caller) post(body string, headers ...string) (code int, answer string) {
	c.t.Helper()
	q, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	r, err := c.client.Do(q)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

func list(items ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

func zip(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

func TestWebhook(t *testing.T) {
	w, witness, c := listen(t, nil, Options{})
	if s := w.state("up", up); s.Reason != "webhook: "+quietYet {
		t.Errorf("state %+v", s)
	}
	now := time.Now()
	if code, answer := c.post(list(execLine("a", now), "{}", noiseItems(30), execLine("b", now))); code != 200 {
		t.Errorf("%d %s", code, answer)
	}
	w.pods("a", "b") // it answers when they have been handed on
	if s := w.state("heard", func(s event.WitnessState) bool { return s.Reason == "" }); !s.Up {
		t.Errorf("state %+v", s)
	}
	if code, _ := c.post(zip(list(execLine("c", now))), "Content-Encoding", "gzip"); code != 200 {
		t.Errorf("gzip: %d", code)
	}
	bomb := zip(list(execLine("d", now)) + strings.Repeat(" ", BodyMax))
	for name, p := range map[string]struct {
		body, encoding string
		want           int
	}{
		"no list":     {`{"kind":"Event"}`, "", 400},
		"no JSON":     {"x", "", 400},
		"empty":       {"", "", 400},
		"no gzip":     {"x", "gzip", 400},
		"other":       {"x", "br", 400},
		"cut":         {list()[:40], "", 400},
		"cut gzip":    {bomb[:1000], "gzip", 400},
		"bomb":        {bomb, "gzip", 413},
		"more within": {`{"kind":"EventList","items":[]}{}`, "", 400},
	} {
		headers := []string{"Content-Encoding", p.encoding}
		if p.encoding == "" {
			headers = nil
		}
		if code, answer := c.post(p.body, headers...); code != p.want {
			t.Errorf("%s: %d %s, want %d", name, code, answer, p.want)
		}
	}
	if code, _ := c.post(strings.Repeat(" ", BodyMax+1)); code != 413 && code != 0 {
		t.Errorf("too long: %d", code)
	}
	if code, _ := c.post(list(execLine("e", now))); code != 200 {
		t.Errorf("after all that: %d", code)
	}
	w.pods("a", "b", "c", "e")
	r, err := c.client.Get(c.url)
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v %v", r, err)
	} else {
		_ = r.Body.Close()
	}
	w.stop()
	if s := witness.Stats(); s.Posts != 3 || s.Malformed < 8 || s.Refused < 10 {
		t.Errorf("stats %+v", s)
	}
}

func noiseItems(n int) string {
	return strings.ReplaceAll(strings.TrimSpace(noise(n)), "\n", ",")
}

func TestWebhookRefusesStrangers(t *testing.T) {
	_, _, c := listen(t, nil, Options{})
	c.client.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	if code, answer := c.post(list()); code != 0 {
		t.Errorf("without a certificate: %d %s", code, answer)
	}
	w, _, c := listen(t, func(o *WebhookOptions) { o.ClientCA, o.Token = nil, "secret" }, Options{})
	c.client.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	for header, want := range map[string]int{"": 401, "Bearer wrong": 401, "Bearer secretx": 401, "secret": 401, "Bearer secret": 200} {
		if code, _ := c.post(list(), "Authorization", header); code != want {
			t.Errorf("%q: %d, want %d", header, code, want)
		}
	}
	w.state("heard", func(s event.WitnessState) bool { return s.Up && s.Reason == "" })

	w, _ = start(t, Options{Webhook: &WebhookOptions{Address: "127.0.0.1:0"}})
	w.state("down", func(s event.WitnessState) bool { return !s.Up && strings.Contains(s.Reason, errNoAuth.Error()) })
}

// TestBothFeeds has one feed fail while the other goes on: nothing is missing.
func TestBothFeeds(t *testing.T) {
	d := newLogDir(t)
	d.exec("x")
	w, witness, c := listen(t, nil, Options{Log: &LogOptions{Path: d.path, FromStart: true}})
	w.state("both up", func(s event.WitnessState) bool { return s.Up && s.Reason == "webhook: "+quietYet })
	if code, _ := c.post(list(execLine("y", d.now))); code != 200 {
		t.Error(code)
	}
	w.until("both", func(said []event.Observation) bool { return len(pods(said)) == 2 })
	before := w.state("up", func(s event.WitnessState) bool { return s.Up && s.Reason == "" })
	w.until("a place", func(said []event.Observation) bool { return len(all[event.Progress](said)) > 0 })
	truncate(t, d.path)
	w.until("a gap", func([]event.Observation) bool { return witness.Stats().Gaps == 1 })
	after := w.state("up", func(s event.WitnessState) bool { return s.Up && s.Reason == "" })
	if !after.From.Equal(before.From) {
		t.Errorf("from %v, then %v", before.From, after.From)
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir() + "/id"
	if _, err := LoadIdentity(dir); err == nil {
		t.Error("an identity from nowhere")
	}
	id, err := EnsureIdentity(dir, []string{"10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := EnsureIdentity(dir, nil)
	if err != nil || !bytes.Equal(again.Key, id.Key) || bytes.Equal(id.Key, id.ClientKey) {
		t.Errorf("not the same identity again: %v", err)
	}
	config, err := again.Kubeconfig("10.0.0.1:9478")
	if err != nil || !strings.Contains(string(config), "server: https://10.0.0.1:9478/audit\n") || strings.Count(string(config), "-data: LS0t") != 3 {
		t.Errorf("%v\n%s", err, config)
	}
}

func TestCanary(t *testing.T) {
	probes := make(chan string, 100)
	fail := make(chan error, 100)
	w, witness, c := listen(t, nil, Options{Canary: &CanaryOptions{
		Key: []byte("0123456789abcdef"), Every: 50 * time.Millisecond, Within: 40 * time.Millisecond,
		Probe: func(ctx context.Context, token string) error {
			select {
			case probes <- token:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case err := <-fail:
				return err
			default:
				return nil
			}
		},
	}})
	w.state("silence", func(s event.WitnessState) bool { return !s.Up && strings.Contains(s.Reason, "silent") })
	answer := func(token, change, to string) {
		t.Helper()
		line := strings.Replace(execLine("canary-"+token, time.Now()), `"namespace":"shop"`, `"namespace":"`+CanaryNamespace+`"`, 1)
		line = strings.Replace(line, `"requestReceived`, `"responseStatus":{"code":404},"requestReceived`, 1)
		if code, text := c.post(list(strings.Replace(line, change, to, 1))); code != 200 {
			t.Errorf("%d %s", code, text)
		}
	}
	last := ""
	for len(probes) > 0 {
		last = <-probes
	}
	answer(last, "", "")
	s := w.state("heard", up)
	if s.From.IsZero() || witness.Stats().Canaries != 1 {
		t.Errorf("state %+v, stats %+v", s, witness.Stats())
	}
	w.until("progress", func(said []event.Observation) bool { return len(all[event.Progress](said)) == 1 })

	answer(last, "", "")                                         // a repeat is known, too
	answer(last, `"code":404`, `"code":101`)                     // one that was granted is told
	answer(last[:30]+string("10"[last[30]&1])+last[31:], "", "") // and one that is not ours
	answer(last, CanaryNamespace, "shop")                        // or is elsewhere
	w.until("others", func(said []event.Observation) bool { return len(pods(said)) == 3 })

	fail <- fmt.Errorf("no route")
	w.state("no probe", func(s event.WitnessState) bool { return strings.Contains(s.Reason, "no canary can be sent: no route") })
}
