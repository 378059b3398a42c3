package export_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/falco"
	"github.com/sallyport/sallyport/internal/export/otlp"
	"github.com/sallyport/sallyport/internal/export/post"
	"github.com/sallyport/sallyport/internal/export/syslog"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/receivers"
)

// long is a record whose command is n bytes long, in letters of two bytes.
func long(position int64, n int) export.Record {
	r := record(position)
	r.Session.Argv = append(r.Session.Argv, strings.Repeat("é", n/2)+"\n\"end\"")
	return r
}

// restarts has the receiver away for a while in the middle of n records.
func restarts(t *testing.T, r *receivers.Receiver, d export.Destination, n int64) {
	t.Helper()
	s := &source{}
	e, stop := start(t, options(t, t.TempDir(), s, d))
	s.grow(n / 2)
	eventually(t, "the first half", func() bool { return e.Stats().Sent > 0 && e.Stats().Waiting == 0 })
	r.Stop()
	s.grow(n - n/2)
	eventually(t, "failing attempts", func() bool { return !e.Stats().FailingSince.IsZero() && e.Stats().Retries > 2 })
	r.Start()
	eventually(t, "the second half", func() bool { return e.Stats().Waiting == 0 && e.Stats().FailingSince.IsZero() })
	stop()
	if st := e.Stats(); st.Dead+st.Dropped+st.Missed != 0 {
		t.Errorf("%+v", st)
	}
}

// have checks that the sessions below n are in what came, each at most some times, and
// no secret.
func have(t *testing.T, came []string, n int) {
	t.Helper()
	for p := range n {
		id, times := fmt.Sprintf("%016d", p), 0
		for _, l := range came {
			if strings.Contains(l, id) {
				times++
			}
		}
		if times == 0 || times > 3 {
			t.Errorf("session %s came %d times", id, times)
		}
	}
	if slices.ContainsFunc(came, func(l string) bool { return strings.Contains(l, "hunter2") }) {
		t.Error("a secret came")
	}
}

func collectorDestination(t *testing.T, c *receivers.Receiver) *post.Destination {
	t.Helper()
	d, err := post.New(post.Options{URL: "http://" + c.Address + "/v1/logs", Format: otlp.New(exporttest.Origin()), Accept: otlp.Partly})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// TestRealCollector: an OpenTelemetry Collector has of each record what was sent, and
// all of them although it was away.
func TestRealCollector(t *testing.T) {
	testbed.Require(t, testbed.Receivers)
	c := receivers.Collector(t, 2<<20)
	d := collectorDestination(t, c)
	records := append(exporttest.Records(), long(900, 200_000))
	if err := d.Send(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	restarts(t, c, d, 60)
	c.Stop()
	want, got := sentLogs(t, records), writtenLogs(t, c)
	if len(got) < len(want)+60 || !slices.Equal(got[:len(want)], want) {
		t.Fatalf("%d came, want %d and 60 more:\n%s\nwant\n%s", len(got), len(want), strings.Join(got[:min(len(got), len(want))], "\n"), strings.Join(want, "\n"))
	}
	have(t, got[len(want):], 60)
}

// TestRealCollectorRefuses: what the collector finds too large goes to the dead letters,
// alone.
func TestRealCollectorRefuses(t *testing.T) {
	testbed.Require(t, testbed.Receivers)
	c := receivers.Collector(t, 20_000)
	records := listed{record(0), long(1, 30_000), record(2), record(3)}
	dir := t.TempDir()
	e, stop := start(t, options(t, dir, records, collectorDestination(t, c)))
	eventually(t, "all but one", func() bool { return e.Stats().Sent == 3 && e.Stats().Dead == 1 })
	stop()
	c.Stop()
	came := writtenLogs(t, c)
	dead, err := os.ReadFile(filepath.Join(dir, "dead.jsonl"))
	if err != nil || len(came) != 3 || !strings.Contains(string(dead), "HTTP 4") || !strings.Contains(string(dead), string(records[1].Session.ID)) {
		t.Errorf("%d came, %v, %.300s", len(came), err, dead)
	}
}

// listed is a source that has no more.
type listed []export.Record

func (l listed) Follow(_ context.Context, after int64) iter.Seq2[export.Record, error] {
	return func(yield func(export.Record, error) bool) {
		for _, r := range l {
			if r.Position > after && !yield(r, nil) {
				return
			}
		}
	}
}

// sentLogs is what writtenLogs is to return of records.
func sentLogs(t *testing.T, records []export.Record) (out []string) {
	t.Helper()
	bodies, err := otlp.New(exporttest.Origin()).Bodies(records, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bodies {
		var data logspb.LogsData
		if err := proto.Unmarshal(b, &data); err != nil {
			t.Fatal(err)
		}
		out = append(out, logs(&data)...)
	}
	return out
}

// writtenLogs is what the collector wrote.
func writtenLogs(t *testing.T, c *receivers.Receiver) (out []string) {
	t.Helper()
	for _, line := range c.Lines() {
		var data logspb.LogsData
		if err := protojson.Unmarshal([]byte(line), &data); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		out = append(out, logs(&data)...)
	}
	return out
}

// logs returns the log records of data, each with its resource, as text.
func logs(data *logspb.LogsData) (out []string) {
	for _, r := range data.GetResourceLogs() {
		for _, sc := range r.GetScopeLogs() {
			for _, l := range sc.GetLogRecords() {
				out = append(out, fmt.Sprint(r.GetResource(), sc.GetScope(), l))
			}
		}
	}
	return out
}

// TestRealSyslog: rsyslog reads each message as RFC 5424 has it, and has all of them
// although it was away.
func TestRealSyslog(t *testing.T) {
	testbed.Require(t, testbed.Receivers)
	dir := t.TempDir()
	testbed.Certificates(t, dir)
	c := receivers.Syslog(t, dir)
	send := func(config *tls.Config, records ...export.Record) (*syslog.Destination, error) {
		d, err := syslog.New(syslog.Options{Address: c.Address, Origin: exporttest.Origin(), TLS: config, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return d, d.Send(t.Context(), records)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	if _, err := send(&tls.Config{RootCAs: pool}, record(1)); err == nil {
		t.Error("it took what came without a certificate")
	}
	records := append(exporttest.Records(), long(900, 200_000))
	d, err := send(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}, records...)
	if err != nil {
		t.Fatal(err)
	}
	restarts(t, c, d, 60)
	c.Stop()
	lines := c.Lines()
	if len(lines) < len(records)+60 {
		t.Fatalf("%d messages, want %d and 60 more:\n%s", len(lines), len(records), strings.Join(lines, "\n"))
	}
	for i, r := range records {
		checkMessage(t, r, lines[i])
	}
	have(t, lines[len(records):], 60)
}

var syslogSeverities = map[finding.Severity]string{
	finding.Critical: "crit", finding.High: "err", finding.Medium: "warning", finding.Low: "notice", finding.Info: "info",
}

// checkMessage compares what rsyslog has read with the record.
func checkMessage(t *testing.T, r export.Record, line string) {
	t.Helper()
	var m receivers.Message
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want := receivers.Message{
		App: "sallyport", Facility: "audit", Severity: syslogSeverities[r.Severity()], Host: exporttest.Origin().Node(r), Text: "\ufeff" + r.Summary(),
	}
	var data map[string]string
	if r.Session != nil {
		want.ID, data = "session."+string(r.Session.Kind), m.Data["session@32473"]
		if id := string(r.Session.ID); data["id"] != id || data["channel"] != string(r.Session.Channel) {
			t.Errorf("%s: %+v", id, data)
		}
		if c := export.Line(export.Command(r.Session)); data["command"] != c && (len(c) < 1500 || !strings.HasPrefix(data["command"], c[:700])) {
			t.Errorf("command %q, want %q", data["command"], c)
		}
	} else {
		want.ID, data = "finding", m.Data["finding@32473"]
		if data["id"] != string(r.Finding.ID) || data["rule"] != r.Finding.Rule || data["subject"] != r.Finding.Subject {
			t.Errorf("%s: %+v", r.Finding.ID, data)
		}
	}
	if !m.Time.Equal(r.Time()) || len(m.Data) != 1 {
		t.Errorf("%+v", m)
	}
	m.Time, m.Data = time.Time{}, nil
	if !reflect.DeepEqual(m, want) {
		t.Errorf("read %+v, want %+v", m, want)
	}
}

// TestRealFalcosidekick: Falcosidekick takes every alert and gives its outputs what it
// was sent, and all of them although it was away.
func TestRealFalcosidekick(t *testing.T) {
	testbed.Require(t, testbed.Sidekick)
	var mu sync.Mutex
	var came []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		came = append(came, string(b))
	}))
	defer srv.Close()
	c := receivers.Falcosidekick(t, srv.URL)
	format := falco.New(exporttest.Origin())
	d, err := post.New(post.Options{URL: "http://" + c.Address + "/", Format: format})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	records := append(exporttest.Records(), long(900, 200_000))
	if err := d.Send(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	// It answers before it gives to its outputs.
	arrived := func(n int) []string {
		eventually(t, fmt.Sprintf("%d alerts", n), func() bool { mu.Lock(); defer mu.Unlock(); return len(came) >= n })
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(came)
	}
	first := arrived(len(records))
	for _, r := range records {
		sent, err := format.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(first, func(got string) bool { return sameAlert(t, got, string(sent[0])) }) {
			t.Errorf("not among what it posted: %.2000s\n%s", sent[0], cmp.Or(strings.Join(first, "\n"), "nothing"))
		}
	}
	restarts(t, c, d, 60)
	have(t, arrived(len(records) + 60)[len(records):], 60)
}

// sameAlert reports whether Falcosidekick posted an alert. It gives each an id, sorts
// the tags, and cuts fields of more than 512 bytes in alerts of more than 4096.
func sameAlert(t *testing.T, got, sent string) bool {
	t.Helper()
	read := func(text string) map[string]any {
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		delete(v, "uuid")
		slices.SortFunc(v["tags"].([]any), func(a, b any) int { return cmp.Compare(a.(string), b.(string)) })
		if fields := v["output_fields"].(map[string]any); len(sent) > 4096 {
			delete(v, "output")
			for k, f := range fields {
				if s, ok := f.(string); ok && len(s) > 500 {
					fields[k] = s[:500]
				}
			}
		}
		return v
	}
	return reflect.DeepEqual(read(got), read(sent))
}
