package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
)

// counter is a desk that notes what it is asked.
type counter struct {
	list    []guard.Record
	err     error
	by      guard.Person
	id      string
	verb    string
	answer  guard.Answer
	answers int
}

func (c *counter) Approvals(by guard.Person) ([]guard.Record, error) {
	c.by = by
	return c.list, c.err
}

func (c *counter) Approve(id string, by guard.Person, a guard.Answer) (guard.Record, error) {
	c.verb, c.id, c.by, c.answer, c.answers = "approve", id, by, a, c.answers+1
	return guard.Record{Approval: &guard.Approval{ID: session.ID(id), State: guard.StateApproved}}, c.err
}

func (c *counter) Deny(id string, by guard.Person, reason string) (guard.Record, error) {
	c.verb, c.id, c.by, c.answer, c.answers = "deny", id, by, guard.Answer{Reason: reason}, c.answers+1
	return guard.Record{Approval: &guard.Approval{ID: session.ID(id), State: guard.StateDenied}}, c.err
}

// serve serves a desk at a socket to one person.
func serve(t testing.TB, d Desk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	uid := uint32(4321)
	go func() {
		done <- Serve(ctx, l, Options{Desk: d, Person: func(net.Conn) guard.Person {
			return guard.Person{Actor: session.Actor{Kind: session.ActorUnix, UID: &uid}}
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// TestClient: what a client asks for arrives, with who asks, and so does the answer.
func TestClient(t *testing.T) {
	d := &counter{list: []guard.Record{{Request: session.Session{ID: "abcd", Argv: []string{"a\xff"}}, Approval: &guard.Approval{ID: "abcd", State: guard.StateWaiting}}}}
	c := NewClient(serve(t, d))
	list, err := c.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Request.Argv[0] != "a\xff" || list[0].Approval.State != guard.StateWaiting || *d.by.UID != 4321 {
		t.Errorf("%+v %v, by %+v", list, err, d.by)
	}
	r, err := c.Approve(t.Context(), "abcd", guard.Answer{For: 90 * time.Second, Reason: "because"})
	if err != nil || r.Approval.State != guard.StateApproved || d.verb != "approve" || d.id != "abcd" || d.answer != (guard.Answer{For: 90 * time.Second, Reason: "because"}) || *d.by.UID != 4321 {
		t.Errorf("%+v %v %+v", r, err, d)
	}
	if r, err = c.Deny(t.Context(), "abcdefgh", "no"); err != nil || r.Approval.State != guard.StateDenied || d.verb != "deny" || d.answer != (guard.Answer{Reason: "no"}) {
		t.Errorf("%+v %v %+v", r, err, d)
	}
	for _, e := range []struct {
		err    error
		status int
	}{
		{guard.ErrNotApprover, 403}, {guard.ErrSamePerson, 403}, {guard.ErrUnknown, 404}, {guard.ErrSettled, 409}, {guard.ErrAmbiguous, 409},
		{guard.ErrNoGrant, 400}, {errors.New("odd"), 500},
	} {
		d.err = fmt.Errorf("%w: more", e.err)
		var said *Error
		for _, err := range []error{
			second(c.List(t.Context())), second(c.Approve(t.Context(), "abcd", guard.Answer{})), second(c.Deny(t.Context(), "abcd", "")),
		} {
			if !errors.As(err, &said) || said.Status != e.status || said.Text != e.err.Error()+": more" {
				t.Errorf("%v: %v", e.err, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestRequests: what is not asked for in the one way is not done.
func TestRequests(t *testing.T) {
	const approve = "POST /v1/approvals/abcd/approve"
	for _, c := range []struct {
		line, kind, body string
		status           int
	}{
		{approve, "application/json", `{}`, 200},
		{approve, "application/json; charset=utf-8", `{"for_seconds":1,"reason":"x"}`, 200},
		{approve, "application/json", `{"for_seconds":86400}`, 200},
		{"POST /v1/approvals/abcd/deny", "application/json", `{"reason":"x"}`, 200},
		{"GET /v1/approvals", "", ``, 200},
		{approve, "text/plain", `{}`, 400},
		{approve, "", `{}`, 400},
		{approve, "application/json", ``, 400},
		{approve, "application/json", `null`, 400},
		{approve, "application/json", `[]`, 400},
		{approve, "application/json", `{}{}`, 400},
		{approve, "application/json", `{"for_seconds":0}`, 400},
		{approve, "application/json", `{"for_seconds":-5}`, 400},
		{approve, "application/json", `{"for_seconds":86401}`, 400},
		{approve, "application/json", `{"for_seconds":1.5}`, 400},
		{approve, "application/json", `{"for_seconds":"1"}`, 400},
		{approve, "application/json", `{"for_seconds":1,"FOR_seconds":900}`, 400},
		{approve, "application/json", `{"for":"1h"}`, 400},
		{approve, "application/json", `{"reason":"a\nb"}`, 400},
		{approve, "application/json", `{"reason":"` + strings.Repeat("x", 501) + `"}`, 400},
		{approve, "application/json", `{"reason":"` + strings.Repeat("x", 5000) + `"}`, 400},
		{"POST /v1/approvals/abcd/deny", "application/json", `{"for_seconds":1}`, 400},
		{"POST /v1/approvals/abc/approve", "application/json", `{}`, 400},
		{"POST /v1/approvals/ABCD/approve", "application/json", `{}`, 400},
		{"POST /v1/approvals/%2e%2e%2fx/approve", "application/json", `{}`, 400},
		{"GET /v1/approvals/abcd/approve", "application/json", `{}`, 405},
		{"POST /v1/approvals", "application/json", `{}`, 405},
		{"POST /v1/approvals/abcd/revoke", "application/json", `{}`, 404},
	} {
		d := &counter{}
		method, target, _ := strings.Cut(c.line, " ")
		r := httptest.NewRequest(method, target, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		w := httptest.NewRecorder()
		handler(d).ServeHTTP(w, r)
		if w.Code != c.status || d.answers != 0 && c.status != 200 {
			t.Errorf("%s %s %s: %d %s, want %d; answered %d", c.line, c.kind, c.body, w.Code, w.Body, c.status, d.answers)
		}
	}
}

// FuzzAnswer: what is taken is within its bounds, and is read back the same.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{}`, `{"for_seconds":900,"reason":"x"}`, `null`, `{"reason":"\u202e"}`, `{"reason":1}`, `{"for_seconds":1e3}`, `{"a":{}}`, "{\"reason\":\"\xff\"}"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, mayFor bool) {
		a, err := parseAnswer(body, mayFor)
		if err != nil {
			if !errors.Is(err, errInput) {
				t.Fatal(err)
			}
			return
		}
		if a.For < 0 || a.For > guard.ForMax || a.For > 0 && !mayFor || len(a.Reason) > reasonMax || !utf8.ValidString(a.Reason) || strings.ContainsAny(a.Reason, "\n\r\x1b") {
			t.Fatalf("%q: %+v", body, a)
		}
		v := answerJSON{Reason: a.Reason}
		if n := int64(a.For / time.Second); n > 0 {
			v.ForSeconds = &n
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseAnswer(text, mayFor); err != nil || again != a {
			t.Fatalf("%q: %+v, again %+v %v", body, a, again, err)
		}
	})
}

// FuzzRequest: whatever is sent, an answer counts only when the request names one
// id in a clean path, and says so in one object.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"POST /v1/approvals/abcd/approve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/approvals/abcd/deny HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"GET /v1/approvals HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST //v1/approvals/a%62cd/approve?x=1 HTTP/1.0\r\nContent-Type: application/json\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		d := &counter{}
		w := httptest.NewRecorder()
		handler(d).ServeHTTP(w, r)
		if d.answers == 0 {
			return
		}
		if d.answers > 1 || w.Code != http.StatusOK || r.Method != http.MethodPost || CheckID(d.id) != nil || r.URL.Path != "/v1/approvals/"+d.id+"/"+d.verb || CheckReason(d.answer.Reason) != nil {
			t.Fatalf("%q: %+v, %d", raw, d, w.Code)
		}
	})
}
