package door

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// judge allows all, and keeps what it was asked.
type judge struct {
	mu      sync.Mutex
	asked   []session.Session // guarded by mu
	misread []error           // guarded by mu
	created []string          // guarded by mu
	hold    chan struct{}     // Decide waits for it; nil does not
}

// Decide implements Judge.
func (j *judge) Decide(_ context.Context, s *session.Session, _ func(policy.Decision)) policy.Verdict {
	if j.hold != nil {
		<-j.hold
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, *s)
	return policy.Verdict{Decision: policy.Decision{Effect: effect.Allow}}
}

// Misread implements Judge.
func (j *judge) Misread(_ *session.Session, reason error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.misread = append(j.misread, reason)
	return true
}

// Created implements Judge.
func (j *judge) Created(s *session.Session, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.created = append(j.created, string(s.ID)+" "+id)
}

// call puts one question to a plugin.
func call(t testing.TB, p *Plugin, which string, q any) (v struct {
	Allow bool
	Msg   string
}) {
	t.Helper()
	body, err := json.Marshal(q)
	if raw, ok := q.(string); ok {
		body = []byte(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/AuthZPlugin."+which, bytes.NewReader(body)))
	if err := json.Unmarshal(w.Body.Bytes(), &v); w.Code != http.StatusOK || err != nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return v
}

// of is a question about a POST with JSON.
func of(method, uri, body string, headers ...string) map[string]any {
	h := map[string]string{}
	if body != "" {
		h["Content-Type"] = "application/json"
	}
	for i := 0; i < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	return map[string]any{"RequestMethod": method, "RequestUri": uri, "RequestBody": []byte(body), "RequestHeaders": h}
}

// fakeDaemon answers our questions about a container, an image and an exec.
func fakeDaemon(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	s.Start()
	t.Cleanup(s.Close)
	return path
}

func answers(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/containers/web/json":
		_, _ = io.WriteString(w, `{"Id":"`+strings.Repeat("a", 64)+`","Name":"/web","Config":{},"HostConfig":{},"State":{}}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"No such thing: `+r.URL.Path+`"}`)
	}
}

// TestPluginSeesThatItDoesNotSee: of a body that the daemon keeps back, or may have
// read otherwise, nothing is allowed.
func TestPluginSeesThatItDoesNotSee(t *testing.T) {
	const exec, json = "/v1.41/containers/web/exec", "application/json"
	harm := `{"Cmd":["true"]}`
	for name, c := range map[string]struct {
		q    any
		says string // "" allows
	}{
		"whole":                      {of("POST", exec, harm), ""},
		"whole, of its length":       {of("POST", exec, harm, "Content-Length", "16"), ""},
		"whole, with a charset":      {of("POST", exec, harm, "Content-Type", "Application/JSON; charset=utf-8"), ""},
		"escapes":                    {of("POST", exec, ` { "Cmd" : ["tr\u0075e"] } `), ""},
		"shorter than it says":       {of("POST", exec, harm, "Content-Length", "17"), "of a body of 17 bytes the daemon hands on 16"},
		"kept back":                  {of("POST", exec, "", "Content-Type", json, "Content-Length", "2000000"), "did not hand on the body"},
		"kept back, chunked":         {of("POST", exec, "", "Content-Type", json), "did not hand on the body"},
		"kept back, behind a type":   {of("POST", exec, "", "Content-Type", "text/plain"), "did not hand on the body"},
		"none":                       {of("POST", exec, ""), "there is no body"},
		"none, of length 0":          {of("POST", exec, "", "Content-Type", json, "Content-Length", "0"), "there is no body"},
		"keys in another case":       {of("POST", exec, `{"cmd":["true"]}`), "several ways"},
		"unknown key without value":  {of("POST", exec, `{"Cmd":["true"],"Binds":null}`), "several ways"},
		"text for a list":            {of("POST", "/containers/create", `{"Image":"x","Cmd":"true"}`), "several ways"},
		"image that is not there":    {of("POST", "/containers/create", `{"Image":"x","Cmd":["true"]}`), ""},
		"container that is not":      {of("POST", "/containers/db/exec", harm), "No such thing: /containers/db/json"},
		"start":                      {of("POST", "/containers/web/start", ""), ""},
		"start, text of length 0":    {of("POST", "/containers/web/start", "", "Content-Type", "text/plain", "Content-Length", "0"), ""},
		"start, something kept back": {of("POST", "/v1.23/containers/web/start", "", "Content-Type", json), "did not hand on"},
		"start, host configuration":  {of("POST", "/v1.23/containers/web/start", `{"PidMode":"host"}`), "takes no body"},
		"stop, maybe by a form":      {of("POST", "/containers/web/stop?t=1", "", "Content-Type", json), "did not hand on"},
		"a form":                     {of("POST", "/containers/web/stop?t=1", "", "Content-Type", "application/x-www-form-urlencoded", "Content-Length", "4"), "did not hand on"},
		"a form of length 0":         {of("POST", "/containers/web/stop?t=1", "", "Content-Type", "application/x-www-form-urlencoded", "Content-Length", "0"), "a form"},
		"build":                      {of("POST", "/build?t=x", "", "Content-Type", "application/x-tar"), ""},
		"archive":                    {of("PUT", "/containers/web/archive?path=/tmp", ""), ""},
		"network, JSON kept back":    {of("POST", "/networks/create", "", "Content-Type", json, "Content-Length", "2000000"), "did not hand on"},
		"pull":                       {of("POST", "/images/create?fromImage=x", "", "Content-Type", "text/plain", "Content-Length", "0"), ""},
		"commit without a body":      {of("POST", "/commit?container=web", "", "Content-Type", json, "Content-Length", "0"), ""},
		"commit, something kept":     {of("POST", "/commit?container=web", "", "Content-Type", json), "did not hand on"},
		"login":                      {of("POST", "/v1.41/auth", "", "Content-Type", json, "Content-Length", "90"), ""},
		"beside login":               {of("POST", "/v1.41/authx", "", "Content-Length", "0"), "begins with /auth"},
		"login as an end":            {of("POST", exec+"?/auth", "", "Content-Type", json, "Content-Length", "40"), "did not hand on"},
		"not ASCII":                  {of("POST", "/containers/web/stop?t=\ufffd", ""), "characters"},
		"no address":                 {of("POST", "%zz", ""), "invalid URI"},
		"no request":                 {map[string]any{}, "cannot read what the daemon asks"},
		"twice":                      {`{"RequestMethod":"GET","RequestMethod":"POST","RequestUri":"/"}`, "cannot read what the daemon asks"},
		"no JSON":                    {"x", "cannot read what the daemon asks"},
		"too much":                   {`{"RequestUri":"` + strings.Repeat("x", questionMax) + `"}`, "cannot read what the daemon asks"},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPlugin(PluginOptions{Network: "unix", Address: fakeDaemon(t, answers), Judge: &judge{}, Enforce: true})
			got := call(t, p, "AuthZReq", c.q)
			if got.Allow != (c.says == "") || !strings.Contains(got.Msg, c.says) {
				t.Errorf("%+v, want %q", got, c.says)
			}
		})
	}
}

// TestPluginImport: what an import from standard input asks for may stand where
// nobody sees it.
func TestPluginImport(t *testing.T) {
	j := &judge{}
	p := NewPlugin(PluginOptions{Network: "unix", Address: "/nowhere", Judge: j, Enforce: true})
	call(t, p, "AuthZReq", of("POST", "/images/create?fromImage=x", "", "Content-Type", "text/plain"))
	call(t, p, "AuthZReq", of("POST", "/images/create?fromSrc=http://x", "", "Content-Type", "text/plain", "Content-Length", "0"))
	if len(j.asked) != 2 || j.asked[0].Channel != event.ChannelUnknown || j.asked[0].Path != "/images/create" || j.asked[1].Channel != event.ChannelDockerImage {
		t.Errorf("%+v", j.asked)
	}
}

// TestPluginWho: without a certificate nobody is known, and with one only whom both
// the daemon and the certificate name.
func TestPluginWho(t *testing.T) {
	j := &judge{}
	p := NewPlugin(PluginOptions{Network: "unix", Address: "/nowhere", Judge: j, Enforce: true})
	ask := func(method, user string, certificates ...[]byte) bool {
		q := of("GET", "/info", "")
		q["UserAuthNMethod"], q["User"], q["RequestPeerCertificates"] = method, user, certificates
		return call(t, p, "AuthZReq", q).Allow
	}
	if !ask("", "") || !ask("", "root") || !ask("TLS", "ann") {
		t.Error(j.misread)
	}
	if ask("TLS", "ann", []byte("x")) {
		t.Error("no certificate")
	}
	for i, want := range []session.Actor{{Kind: session.ActorNone}, {Kind: session.ActorNone}, {Kind: session.ActorTLS, User: "ann"}} {
		got := j.asked[i]
		if got.Actor.Kind != want.Kind || got.Actor.User != want.User || (got.Attribution.Level == session.LevelNone) != (want.Kind == session.ActorNone) {
			t.Errorf("%d: %+v %+v", i, got.Actor, got.Attribution)
		}
	}
}

// TestPluginInTime: whatever keeps a decision, there is an answer, and when the
// daemon asks about our own questions that does not wait for it.
func TestPluginInTime(t *testing.T) {
	hold := make(chan struct{})
	j := &judge{hold: hold}
	p := NewPlugin(PluginOptions{Network: "unix", Address: "/nowhere", Judge: j, Enforce: true, Limit: time.Millisecond})
	others := []map[string]any{
		of("POST", "/containers/web/stop", "", "X-Sallyport-Lookup", p.token), of("GET", "/containers/web/archive", "", "X-Sallyport-Lookup", p.token),
		of("GET", "/info", "", "X-Sallyport-Lookup", p.token+"x"), of("GET", "/info", "", "X-Sallyport-Lookup", ""),
	}
	for range pluginSlots {
		others = append(others, of("GET", "/info", ""))
	}
	var all sync.WaitGroup
	for _, q := range others {
		all.Go(func() {
			if v := call(t, p, "AuthZReq", q); v.Allow {
				t.Errorf("%v: %+v", q, v)
			}
		})
	}
	all.Wait()
	if got := p.Stats().Late.Load() + p.Stats().Misread.Load(); got != uint64(len(others)) {
		t.Errorf("%d of %d are late or misread", got, len(others))
	}
	if v := call(t, p, "AuthZReq", of("GET", "/containers/web/json", "", "X-Sallyport-Lookup", p.token)); !v.Allow {
		t.Errorf("our own question: %+v", v)
	}
	p = NewPlugin(PluginOptions{Network: "unix", Address: "/nowhere", Judge: j, Limit: time.Millisecond})
	if v := call(t, p, "AuthZReq", of("GET", "/info", "")); !v.Allow || p.Stats().Late.Load() != 1 {
		t.Errorf("observing: %+v", v)
	}
	close(hold)
}

// TestPluginSlowDaemon: a daemon that does not say what a container is leaves
// nothing to decide about.
func TestPluginSlowDaemon(t *testing.T) {
	done := make(chan struct{})
	address := fakeDaemon(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	j := &judge{}
	p := NewPlugin(PluginOptions{Network: "unix", Address: address, Judge: j, Enforce: true, Limit: 50 * time.Millisecond})
	if v := call(t, p, "AuthZReq", of("POST", "/containers/web/stop", "")); v.Allow || len(j.misread) != 1 || !errors.Is(j.misread[0], context.DeadlineExceeded) {
		t.Errorf("%+v %v", v, j.misread)
	}
}

// TestPluginPanics: a judge that fails refuses.
func TestPluginPanics(t *testing.T) {
	p := NewPlugin(PluginOptions{Network: "unix", Address: "/nowhere", Judge: (*judge)(nil), Enforce: true})
	if v := call(t, p, "AuthZReq", of("GET", "/info", "")); v.Allow || v.Msg != "sallyport failed to decide" {
		t.Errorf("%+v", v)
	}
}

// TestPluginCreated: the id in an answer belongs to the request that it answers, of
// several alike to one each, and to none when it is another's or nothing was made.
func TestPluginCreated(t *testing.T) {
	j := &judge{}
	p := NewPlugin(PluginOptions{Network: "unix", Address: fakeDaemon(t, answers), Judge: j, Enforce: true})
	q := of("POST", "/v1.41/containers/web/%65xec", `{"Cmd":["true"]}`)
	for range 2 {
		if v := call(t, p, "AuthZReq", q); !v.Allow {
			t.Fatal(v)
		}
	}
	answer := func(uri, body string, status int, response string) {
		r := of("POST", uri, body)
		r["ResponseStatusCode"], r["ResponseBody"] = status, []byte(response)
		if v := call(t, p, "AuthZRes", r); !v.Allow {
			t.Errorf("%+v", v)
		}
	}
	uri, body := q["RequestUri"].(string), string(q["RequestBody"].([]byte))
	answer("/containers/web/exec", body, 201, `{"Id":"x1"}`) // never asked
	answer(uri, `{"Cmd":["false"]}`, 201, `{"Id":"x2"}`)     // nor this
	answer(uri, body, 201, `{"Id":"x3"}`)
	answer(uri, body, 409, `{"message":"paused"}`)
	answer(uri, body, 201, `{"Id":"x4"}`) // none left
	call(t, p, "AuthZRes", "x")
	if len(j.created) != 1 || j.created[0] != string(j.asked[1].ID)+" x3" {
		t.Errorf("%v", j.created)
	}
}

// TestPluginTells: what was decided is told, with what is known of who asked and the
// id of what was made; what was too late is told as lost.
func TestPluginTells(t *testing.T) {
	var mu sync.Mutex
	var told []event.Observation
	j := &judge{}
	p := NewPlugin(PluginOptions{Network: "unix", Address: fakeDaemon(t, answers), Judge: j, Enforce: true, Observe: func(o event.Observation) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, o)
	}})
	q := of("POST", "/containers/web/exec", `{"Cmd":["true"]}`)
	if v := call(t, p, "AuthZReq", q); !v.Allow {
		t.Fatal(v)
	}
	q["ResponseStatusCode"], q["ResponseBody"] = 201, []byte(`{"Id":"x1"}`)
	call(t, p, "AuthZRes", q)
	call(t, p, "AuthZReq", of("GET", "/containers/json", "")) // of which there is nothing to tell
	if len(told) != 3 {
		t.Fatalf("%+v", told)
	}
	r, isRequest := told[0].(event.DockerRequest)
	d, isDecision := told[1].(event.Decision)
	a, isAnswer := told[2].(event.DockerAnswer)
	if !isRequest || !isDecision || !isAnswer {
		t.Fatalf("%+v", told)
	}
	if !r.Plugin || !r.Certain || r.Op != event.OpExecCreate || !slices.Equal(r.Argv, []string{"true"}) || r.Peer.HasCred() || r.Peer.Certificate != nil || r.ID.Conn < 1<<52 {
		t.Errorf("%+v", r)
	}
	if d.Request != r.ID || d.Effect != effect.Allow || d.Stopped || a.ID != r.ID || a.Created != "x1" || a.Status != 201 {
		t.Errorf("%+v %+v", d, a)
	}

	told = nil
	byTLS := of("POST", "/containers/web/exec", `{"Cmd":["true"]}`)
	byTLS["User"], byTLS["UserAuthNMethod"] = "ann", "TLS"
	call(t, p, "AuthZReq", byTLS)
	if r := told[0].(event.DockerRequest); r.Peer.Certificate == nil || r.Peer.Certificate.CommonName != "ann" {
		t.Errorf("%+v", r)
	}

	told = nil
	call(t, p, "AuthZReq", of("POST", "/containers/web/exec", `{"cmd":["true"]}`))
	if len(told) != 2 || told[0].(event.DockerRequest).Certain || !told[1].(event.Decision).Stopped {
		t.Errorf("%+v", told)
	}

	told = nil
	hold := &judge{hold: make(chan struct{})}
	defer close(hold.hold)
	p = NewPlugin(PluginOptions{Network: "unix", Address: fakeDaemon(t, answers), Judge: hold, Limit: time.Millisecond, Observe: p.opt.Observe})
	call(t, p, "AuthZReq", of("POST", "/containers/web/exec", `{"Cmd":["true"]}`))
	if loss, ok := told[0].(event.Loss); len(told) != 1 || !ok || loss.Count != 1 || loss.Witness != event.WitnessGuard {
		t.Errorf("%+v", told)
	}
}

// TestPluginActivates: the daemon is told what this is.
func TestPluginActivates(t *testing.T) {
	p := NewPlugin(PluginOptions{Judge: &judge{}})
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/Plugin.Activate", nil))
	if w.Body.String() != `{"Implements":["authz"]}` {
		t.Error(w.Body)
	}
	w = httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/VolumeDriver.List", nil))
	if w.Code != http.StatusNotFound {
		t.Error(w.Code)
	}
}

// FuzzQuestion: whatever the daemon says there is an answer; and what is allowed
// with a body that says what is asked for is, to every reader of JSON, what was
// judged.
func FuzzQuestion(f *testing.F) {
	seed := func(q map[string]any) {
		b, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(of("POST", "/v1.41/containers/web/exec", `{"Cmd":["a"],"Env":["X=y"],"Tty":true}`))
	seed(of("POST", "/containers/create?name=x", `{"Image":"i","HostConfig":{"Binds":["/:/h"]}}`, "Content-Length", "45"))
	seed(of("POST", "/exec/x/start", `{"Detach":true,"detach":false}`))
	seed(of("POST", "/containers/web/start", "", "Content-Type", "text/plain", "Content-Length", "0"))
	f.Add([]byte(`{"User":"ann","UserAuthNMethod":"TLS","RequestPeerCertificates":["` + base64.StdEncoding.EncodeToString([]byte("x")) + `"],"RequestMethod":"GET","RequestUri":"/_ping"}`))
	address := fakeDaemon(f, answers)
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &judge{}
		p := NewPlugin(PluginOptions{Network: "unix", Address: address, Judge: j, Enforce: true, Limit: 10 * time.Second})
		defer p.reader.daemon.http.CloseIdleConnections()
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/AuthZPlugin.AuthZReq", bytes.NewReader(data)))
		var v said
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		p.after(httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(data)))
		if !v.Allow && v.Msg == "" || v.Allow != (len(j.asked) == 1) {
			t.Fatalf("%+v, asked %v", v, j.asked)
		}
		q, err := parseQuestion(data)
		if err != nil || !v.Allow {
			return
		}
		s := j.asked[0]
		if (s.Actor.Kind == session.ActorTLS) != (q.Method == "TLS") {
			t.Fatalf("%+v", s.Actor)
		}
		if s.Channel == event.ChannelDockerExec && s.ExecID == "" {
			var exact map[string]json.RawMessage
			var argv []string
			if err := json.Unmarshal(q.Body, &exact); err != nil {
				t.Fatal(err)
			}
			if json.Unmarshal(exact["Cmd"], &argv); strings.Join(argv, "\x00") != strings.Join(s.Argv, "\x00") {
				t.Fatalf("%q was judged, another reads %q", s.Argv, argv)
			}
		}
	})
}
