//go:build linux

// Package receivers runs what exports are sent to, as children of a test: each on a
// port of its own, writing what it took to a file.
package receivers

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/receivers/release"
)

// Receiver is a receiver's own program. It is started, and stopped at the end of the
// test.
type Receiver struct {
	Address string // where it listens
	File    string // where it writes what it took; Falcosidekick posts it instead

	t       testing.TB
	command []string
	env     []string
	cmd     *exec.Cmd
	said    bytes.Buffer
}

// Collector is an OpenTelemetry Collector that takes OTLP by HTTP, in bodies of at
// most limit bytes, and writes it as lines of JSON.
func Collector(t testing.TB, limit int) *Receiver {
	t.Helper()
	programs, err := release.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	r := &Receiver{
		t: t, Address: testbed.FreeAddress(t), File: filepath.Join(dir, "logs.json"),
		command: []string{filepath.Join(programs, release.Collector), "--config", "file:" + config},
	}
	write(t, config, fmt.Sprintf(`receivers: {otlp: {protocols: {http: {endpoint: "%s", max_request_body_size: %d}}}}
exporters: {file: {path: "%s", append: true}}
service:
  pipelines: {logs: {receivers: [otlp], exporters: [file]}}
  telemetry: {metrics: {level: none}}
`, r.Address, limit, r.File))
	r.Start()
	return r
}

// Syslog is rsyslog with TLS, which wants a certificate. Both ends have those of
// testbed.Certificates in the directory. It writes a Message each line.
func Syslog(t testing.TB, certificates string) *Receiver {
	t.Helper()
	rsyslogd, err := testbed.LookPath("rsyslogd")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "rsyslog.conf")
	r := &Receiver{
		t: t, Address: testbed.FreeAddress(t), File: filepath.Join(dir, "messages"),
		command: []string{rsyslogd, "-n", "-f", config, "-i", filepath.Join(dir, "pid")},
	}
	host, port, _ := strings.Cut(r.Address, ":")
	write(t, config, fmt.Sprintf(`global(workDirectory="%[1]s" maxMessageSize="64k" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="%[2]s/ca.pem"
  defaultNetstreamDriverCertFile="%[2]s/cert.pem" defaultNetstreamDriverKeyFile="%[2]s/key.pem" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
module(load="mmpstrucdata")
input(type="imtcp" port="%[3]s" address="%[4]s")
template(name="json" type="list") {
  constant(value="{")
  property(outname="host" name="hostname" format="jsonf") constant(value=",")
  property(outname="app" name="app-name" format="jsonf") constant(value=",")
  property(outname="facility" name="syslogfacility-text" format="jsonf") constant(value=",")
  property(outname="severity" name="syslogseverity-text" format="jsonf") constant(value=",")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf") constant(value=",")
  property(outname="id" name="msgid" format="jsonf") constant(value=",\"data\":")
  property(name="$!rfc5424-sd") constant(value=",")
  property(outname="text" name="msg" format="jsonf") constant(value="}\n")
}
action(type="mmpstrucdata" sd_name.lowercase="off")
action(type="omfile" file="%[5]s" template="json")
`, dir, certificates, port, host, r.File))
	r.Start()
	return r
}

// Message is what rsyslog read of one.
type Message struct {
	Host, App, Facility, Severity, ID, Text string

	Time time.Time
	Data map[string]map[string]string // structured data: parameters by element
}

// Falcosidekick posts what it takes to a URL.
func Falcosidekick(t testing.TB, url string) *Receiver {
	t.Helper()
	program, err := testbed.LookPath("falcosidekick")
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{t: t, Address: testbed.FreeAddress(t), command: []string{program}}
	host, port, _ := strings.Cut(r.Address, ":")
	r.env = []string{"LISTENADDRESS=" + host, "LISTENPORT=" + port, "WEBHOOK_ADDRESS=" + url}
	r.Start()
	return r
}

// Start runs it until it listens.
func (r *Receiver) Start() {
	r.t.Helper()
	r.cmd = exec.Command(r.command[0], r.command[1:]...)
	r.cmd.Env = r.env
	r.cmd.Stdout, r.cmd.Stderr = &r.said, &r.said
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		r.Stop()
		if r.t.Failed() {
			r.t.Logf("%s:\n%s", r.command[0], &r.said)
		}
	})
	testbed.Eventually(r.t, 20*time.Second, r.command[0]+" listens", func() bool {
		c, err := net.DialTimeout("tcp", r.Address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Stop ends it in good order: it writes what it has taken.
func (r *Receiver) Stop() {
	if r.cmd.ProcessState != nil {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	stuck := time.AfterFunc(20*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = r.cmd.Wait()
}

// Lines returns the lines that it has written so far.
func (r *Receiver) Lines() []string {
	r.t.Helper()
	b, err := os.ReadFile(r.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
