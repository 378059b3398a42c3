package up

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/receivers"
	"github.com/sallyport/sallyport/testbed/up"
)

// TestRealReceivers runs up with a collector and rsyslog, which wants a certificate,
// beside a real engine. Both go away and come back: each has every command once it is
// over, and no secret.
func TestRealReceivers(t *testing.T) {
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF, testbed.Receivers)
	certificates := t.TempDir()
	testbed.Certificates(t, certificates)
	collector, syslog := receivers.Collector(t, 2<<20), receivers.Syslog(t, certificates)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	p := up.Print(t, bin, state, e, "--client-requests", "always",
		"--export", "otlp+http://"+collector.Address+"/v1/logs syslog+tls://"+syslog.Address,
		"--export-ca", filepath.Join(certificates, "ca.pem"), "--export-cert", filepath.Join(certificates, "cert.pem"),
		"--export-key", filepath.Join(certificates, "key.pem"))
	up.Await(t, state, "kernel", "docker", "containerd")
	e.RunT(t, "--name", "box", docker.Image)
	came := func(n int) {
		t.Helper()
		for _, r := range []*receivers.Receiver{collector, syslog} {
			testbed.Eventually(t, 60*time.Second, fmt.Sprintf("%d commands and their ends", n), func() bool { return len(ended(r, n)) == n })
		}
	}
	const commands = 6
	for i := range commands {
		if i == commands/2 {
			came(i)
			collector.Stop()
			syslog.Stop()
		}
		e.ExecT(t, 4321, "box", "/bin/busybox", "echo", fmt.Sprintf("n%dé", i), "\"two\nlines\"", "--password=hunter2")
	}
	testbed.Eventually(t, 30*time.Second, "both exports fail", func() bool {
		_, status := up.Ask(state, "/status")
		return strings.Count(status, `"failing_since"`) == 2
	})
	collector.Start()
	syslog.Start()
	came(commands)
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up: %v\n%s", err, p.Stderr.String())
	}
	for _, r := range []*receivers.Receiver{collector, syslog} {
		if text := strings.Join(r.Lines(), "\n"); strings.Contains(text, "hunter2") || !strings.Contains(text, "[redacted]") {
			t.Errorf("the secret went out, or nothing did: %d bytes", len(text))
		}
	}
}

// ended returns which of n commands a receiver has seen the end of.
func ended(r *receivers.Receiver, n int) map[int]bool {
	out := map[int]bool{}
	for _, l := range r.Lines() {
		for i := range n {
			if strings.Contains(l, fmt.Sprintf("n%dé", i)) && strings.Contains(l, "ended") {
				out[i] = true
			}
		}
	}
	return out
}
