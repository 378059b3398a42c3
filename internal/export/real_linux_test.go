package export_test

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/otlp"
	"github.com/sallyport/sallyport/internal/export/post"
	"github.com/sallyport/sallyport/internal/export/syslog"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/receivers/release"
)

// real is a receiver's own program.
type real struct {
	t       *testing.T
	command []string
	cmd     *exec.Cmd
	said    bytes.Buffer
	address string
}

// start runs it until it listens.
func (r *real) start() {
	r.t.Helper()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("%s", &r.said)
		}
	})
	r.cmd = exec.CommandContext(r.t.Context(), r.command[0], r.command[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = &r.said, &r.said
	r.cmd.Cancel = func() error { return r.cmd.Process.Kill() }
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.stop)
	testbed.Eventually(r.t, 20*time.Second, r.command[0]+" listens", func() bool {
		c, err := net.DialTimeout("tcp", r.address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// stop ends it in good order: it writes what it has taken.
func (r *real) stop() {
	if r.cmd.ProcessState == nil {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		_ = r.cmd.Wait()
	}
}

// restarts has the receiver away for a while in the middle of n records.
func (r *real) restarts(e *export.Exporter, s *source, n int64) {
	r.t.Helper()
	s.grow(n / 2)
	eventually(r.t, "the first half", func() bool { return e.Stats().Sent > 0 && e.Stats().Waiting == 0 })
	r.stop()
	s.grow(n - n/2)
	eventually(r.t, "failing attempts", func() bool { return !e.Stats().FailingSince.IsZero() && e.Stats().Retries > 2 })
	r.start()
	eventually(r.t, "the second half", func() bool { return e.Stats().Waiting == 0 && e.Stats().FailingSince.IsZero() })
	r.stop()
	if st := e.Stats(); st.Dead+st.Dropped+st.Missed != 0 {
		r.t.Errorf("%+v\n%s", st, &r.said)
	}
}

// TestRealCollector: an OpenTelemetry Collector has of each record what was sent, and
// all of them although it was away.
func TestRealCollector(t *testing.T) {
	testbed.Require(t, testbed.Receivers)
	programs, err := release.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &real{t: t, address: testbed.FreeAddress(t), command: []string{filepath.Join(programs, release.Collector), "--config", "file:" + filepath.Join(dir, "config.yaml")}}
	config := fmt.Sprintf(`receivers: {otlp: {protocols: {http: {endpoint: "%s"}}}}
exporters: {file: {path: "%s/logs.json", append: true}}
service:
  pipelines: {logs: {receivers: [otlp], exporters: [file]}}
  telemetry: {metrics: {level: none}}
`, c.address, dir)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	format := otlp.New(exporttest.Origin())
	d, err := post.New(post.Options{URL: "http://" + c.address + "/v1/logs", Format: format, Accept: otlp.Partly})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	records := exporttest.Records()
	if err := d.Send(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	s := &source{}
	e, stop := start(t, options(t, t.TempDir(), s, d))
	c.restarts(e, s, 60)
	stop()

	var want, got []string
	for _, r := range records {
		sent, err := format.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sent {
			var data logspb.LogsData
			if err := proto.Unmarshal(m, &data); err != nil {
				t.Fatal(err)
			}
			want = append(want, logs(&data)...)
		}
	}
	f, err := os.Open(filepath.Join(dir, "logs.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var data logspb.LogsData
		if err := protojson.Unmarshal(lines.Bytes(), &data); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		got = append(got, logs(&data)...)
	}
	if len(want) == 0 || len(got) < len(want)+60 || !slices.Equal(got[:len(want)], want) {
		t.Errorf("%d came, want %d and %d more:\n%s\nwant\n%s", len(got), len(want), 60, strings.Join(got[:min(len(got), len(want))], "\n"), strings.Join(want, "\n"))
	}
	for p := range 60 {
		if id := fmt.Sprintf("%016d", p); !slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, id) }) {
			t.Errorf("session %s is not there", id)
		}
	}
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
	dir, p := t.TempDir(), newPKI(t)
	write := func(name string, blocks ...*pem.Block) string {
		t.Helper()
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key, err := x509.MarshalPKCS8PrivateKey(p.server.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	c := &real{t: t, address: testbed.FreeAddress(t)}
	_, port, _ := strings.Cut(c.address, ":")
	config := fmt.Sprintf(`global(workDirectory="%[1]s" maxMessageSize="64k" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="%[2]s"
  defaultNetstreamDriverCertFile="%[3]s" defaultNetstreamDriverKeyFile="%[4]s" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" port="%[5]s" address="127.0.0.1")
template(name="json" type="list" option.jsonf="on") {
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="severity" name="syslogseverity" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}
action(type="omfile" file="%[1]s/messages" template="json")
`, dir, write("ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: p.ca.Raw}), write("cert.pem", &pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate[0]}),
		write("key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: key}), port)
	if err := os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	rsyslogd, err := testbed.LookPath("rsyslogd")
	if err != nil {
		t.Fatal(err)
	}
	c.command = []string{rsyslogd, "-n", "-f", filepath.Join(dir, "rsyslog.conf"), "-i", filepath.Join(dir, "pid")}
	c.start()
	origin := exporttest.Origin()
	d, err := syslog.New(syslog.Options{Address: c.address, Origin: origin, TLS: p.clientTLS(), Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	records := exporttest.Records()
	if err := d.Send(t.Context(), records); err != nil {
		t.Fatalf("%v\n%s", err, &c.said)
	}
	if stranger, err := syslog.New(syslog.Options{Address: c.address, Origin: origin, TLS: &tls.Config{RootCAs: p.pool}, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	} else if err := stranger.Send(t.Context(), records); err == nil {
		t.Error("it took what came without a certificate")
	}
	s := &source{}
	e, stop := start(t, options(t, t.TempDir(), s, d))
	c.restarts(e, s, 60)
	stop()

	text, err := os.ReadFile(filepath.Join(dir, "messages"))
	if err != nil {
		t.Fatalf("%v\n%s", err, &c.said)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) < len(records)+60 {
		t.Fatalf("%d messages, want %d and 60 more:\n%s\n%s", len(lines), len(records), text, &c.said)
	}
	for i, r := range records {
		var m struct{ Host, App, Severity, Time, MsgID, Data, Msg string }
		if err := json.Unmarshal([]byte(lines[i]), &m); err != nil {
			t.Fatalf("%v in %s", err, lines[i])
		}
		id, host := "", origin.Host
		if r.Session != nil {
			id, host = string(r.Session.ID), cmp.Or(r.Session.Target.Node, host)
		} else {
			id = string(r.Finding.ID)
		}
		if m.Host != host || m.App != "sallyport" || !strings.HasPrefix(m.Data, "[") || !strings.HasSuffix(m.Data, "]") || !strings.Contains(m.Data, id) || m.Msg == "" || m.Time == "" {
			t.Errorf("%d: %+v", i, m)
		}
	}
	for n := range 60 {
		if id := fmt.Sprintf("%016d", n); !strings.Contains(string(text), id) {
			t.Errorf("session %s is not there", id)
		}
	}
}
