package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostrules"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// hostScan runs "sallyport scan ARGS" for an engine; what it keeps is beside the program.
func hostScan(t *testing.T, bin string, e *docker.Engine, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"scan"}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.Address, "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(bin), "cache"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scan %q: %v\n%s", args, err, stderr.Bytes())
	}
	return string(out)
}

// hostOf keeps what a scan sees in a snapshot, and reads it.
func hostOf(t *testing.T, bin string, e *docker.Engine, file string) *inventory.Host {
	t.Helper()
	hostScan(t, bin, e, "collect", "--from", "host", "-o", file)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, _, err := scan.Read(f)
	if err != nil || len(i.Hosts) != 1 || i.Hosts[0].Docker == nil {
		t.Fatalf("%+v, %v", i, err)
	}
	return &i.Hosts[0]
}

const prettyConfig = `{
  "no-new-privileges":
     true,
  "labels": [ "a=b" ]
}
`

// TestScanOfAHost asks who can exec in a container of a real engine, and has them
// try.
func TestScanOfAHost(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	port := "tcp://" + testbed.FreeAddress(t)
	e := docker.New(t, docker.Options{Config: prettyConfig, Flags: []string{"-H", port}})
	bin := program.New(t)
	dir := filepath.Dir(e.Socket)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if out, err := docker.Output(e.CLI(t.Context(), "volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device="+dir, "vol")); err != nil {
		t.Fatal(out, err)
	}
	e.RunT(t, "--name", "box", "--read-only", "--user", "1000", docker.Image)
	e.RunT(t, "--name", "ci", "-v", link+":/x:ro", docker.Image)
	e.RunT(t, "--name", "byvolume", "-v", "vol:/y", docker.Image)
	e.RunT(t, "--name", "admin", "--cap-add", "SYS_ADMIN", "--pid", "host", docker.Image) // --privileged takes all capabilities, which a test bed may lack

	e.RunT(t, "--name", "proc", "--security-opt", "systempaths=unconfined", docker.Image)
	if out, err := docker.Output(e.CLI(t.Context(), "exec", "proc", "/bin/busybox", "test", "-w", "/proc/sys/kernel/core_pattern")); err != nil {
		t.Errorf("proc may not write there: %s, %v", out, err)
	}

	file := filepath.Join(t.TempDir(), "h.scan")
	h := hostOf(t, bin, e, file)
	live := hostScan(t, bin, e, "who-can-exec", "--from", "host", "box", "--json")
	if again := hostScan(t, bin, e, "who-can-exec", "--from", file, "box", "--json"); again != live {
		t.Errorf("the snapshot says\n%s\nand the host said\n%s", again, live)
	}
	can := actors(t, live)
	for actor, channel := range map[string]string{
		"unix:root": "DK-EXEC", "anyone": "DK-EXEC", "container:ci": "DK-EXEC", "container:byvolume": "DK-EXEC", "container:admin": "HO-NSENTER", "container:proc": "HO-NSENTER",
	} {
		if !slices.Contains(can[exposure.Actor(actor)], channel) {
			t.Errorf("%s is not said to come by %s: %v", actor, channel, can)
		}
	}
	if len(can["container:box"]) > 0 || len(can["anonymous"]) > 0 {
		t.Errorf("too many: %v", can)
	}
	// By the port whoever is here can; by the socket he cannot.
	by := func(address string) error {
		_, err := docker.Output(docker.As(e.CLI(t.Context(), "-H", address, "exec", "box", "/bin/busybox", "true"), 65534))
		return err
	}
	if err := by(port); err != nil {
		t.Errorf("who is said to come by the port fails: %v", err)
	}
	for _, c := range []string{"ci /x/d.sock", "byvolume /y/d.sock"} {
		name, socket, _ := strings.Cut(c, " ")
		if out, err := docker.Output(e.CLI(t.Context(), "exec", name, "/bin/busybox", "test", "-S", socket)); err != nil {
			t.Errorf("%s has no socket: %s, %v", name, out, err)
		}
	}
	containersAreRead(t, h)
	rulesFire(t, h)
	reported(t, bin, e, file)
	changedConfig(t, bin, e)
}

// reported looks for the host's findings in the report, which fails for them.
func reported(t *testing.T, bin string, e *docker.Engine, file string) {
	t.Helper()
	report := hostScan(t, bin, e, "--from", file, "--fail-on", "never", "--format", "json")
	for _, want := range []string{`"rule":"SP-DKR-001","severity":"critical"`, `"rule":"SP-DKR-020"`, `"coverage":{`} {
		if !strings.Contains(report, want) {
			t.Errorf("%s is not in the report:\n%s", want, report)
		}
	}
	var failed *exec.ExitError
	if err := exec.CommandContext(t.Context(), bin, "scan", "--from", file).Run(); !errors.As(err, &failed) || failed.ExitCode() != int(exit.Findings) {
		t.Errorf("a critical finding ends with %v", err)
	}
}

func actors(t *testing.T, lines string) map[exposure.Actor][]string {
	t.Helper()
	out := map[exposure.Actor][]string{}
	for d := json.NewDecoder(strings.NewReader(lines)); d.More(); {
		var e exposure.Exposure
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Target.DockerName != "box" || len(e.Target.ID) != 64 {
			t.Errorf("target %+v", e.Target)
		}
		out[e.Actor] = append(out[e.Actor], string(e.Channel))
	}
	return out
}

func containersAreRead(t *testing.T, h *inventory.Host) {
	t.Helper()
	d := h.Docker
	if d.NoNewPrivs != inventory.Yes || d.LiveRestore != inventory.Yes || d.UserNS != inventory.No || d.Version == "" || d.PID == 0 || d.Containerd == "" {
		t.Errorf("docker: %+v", d)
	}
	if len(d.Disagree) > 0 {
		t.Errorf("nothing disagrees: %+v", d.Disagree)
	}
	if len(h.Listeners) != 1 || h.Listeners[0].TLS != inventory.No || h.Listeners[0].ClientCert != inventory.No {
		t.Errorf("listeners: %+v", h.Listeners)
	}
	for _, c := range h.Running {
		switch c.Name {
		case "box":
			if c.User == nil || *c.User != 1000 || !c.ReadOnlyRoot || c.Privileged || c.Escalation != inventory.No {
				t.Errorf("%+v", c)
			}
		case "admin":
			if c.Privileged || !c.HostPID || !slices.Equal(c.AddCapabilities, []string{"SYS_ADMIN"}) || c.User == nil || *c.User != 0 {
				t.Errorf("%+v", c)
			}
		}
	}
}

// rulesFire looks for what is to be reported of the host.
func rulesFire(t *testing.T, h *inventory.Host) {
	t.Helper()
	got := map[string]bool{}
	found, _ := hostrules.Check(h, time.Now())
	for _, f := range found {
		got[f.Rule+" "+f.Target.ContainerName] = true
	}
	for _, want := range []string{"SP-DKR-001 ", "SP-DKR-006 ", "SP-DKR-007 ", "SP-DKR-020 ci", "SP-DKR-020 byvolume", "SP-DKR-022 admin", "SP-DKR-023 admin", "SP-DKR-024 admin", "SP-DKR-024 proc"} {
		if !got[want] {
			t.Errorf("%s is not reported: %v", want, got)
		}
	}
	for _, not := range []string{"SP-DKR-008 ", "SP-DKR-013 ", "SP-DKR-020 box", "SP-DKR-026 box", "SP-DKR-027 box"} {
		if got[not] {
			t.Errorf("%s is reported", not)
		}
	}
}

// changedConfig changes daemon.json under a daemon that has started with another.
func changedConfig(t *testing.T, bin string, e *docker.Engine) {
	t.Helper()
	text := "{\n  \"live-restore\": false,\n  \"no-new-privileges\": false,\n  \"hosts\": [\n    \"tcp://0.0.0.0:1\"\n  ]\n}\n"
	if err := os.WriteFile(filepath.Join(e.Dir, "daemon.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h := hostOf(t, bin, e, filepath.Join(t.TempDir(), "h.scan"))
	said := map[string]bool{}
	for _, d := range h.Docker.Disagree {
		for _, v := range d.Values {
			said[d.Name+" "+filepath.Base(v.Origin.String())+" "+v.Value] = true
		}
	}
	for _, want := range []string{
		"live-restore daemon.json:2 false", "live-restore flags of process " + strconv.Itoa(h.Docker.PID) + " true",
		"hosts daemon.json:4 tcp://0.0.0.0:1", "hosts what the daemon says nobody listens on port 1",
	} {
		if !said[want] {
			t.Errorf("%q is not said: %v", want, said)
		}
	}
}

// TestScanFindsOutWhatAPortAsksFor tries real daemons, each set in another way.
func TestScanFindsOutWhatAPortAsksFor(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	bin, dir := program.New(t), t.TempDir()
	testbed.Certificates(t, dir)
	tls := []string{"--tlscacert", dir + "/ca.pem", "--tlscert", dir + "/cert.pem", "--tlskey", dir + "/key.pem"}
	for _, c := range []struct {
		name      string
		flags     []string
		tls, cert inventory.Answer
		set       inventory.Answer // tlsverify
		anyone    bool
	}{
		{"verified", append([]string{"--tlsverify"}, tls...), inventory.Yes, inventory.Yes, inventory.Yes, false},
		{"not verified", append([]string{"--tls", "--tlsverify=false"}, tls...), inventory.Yes, inventory.No, inventory.No, true},
		{"encrypted, which verifies unless told otherwise", append([]string{"--tls"}, tls...), inventory.Yes, inventory.Yes, inventory.No, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := docker.New(t, docker.Options{Flags: append([]string{"-H", "tcp://" + testbed.FreeAddress(t)}, c.flags...)})
			e.RunT(t, "--name", "box", docker.Image)
			h := hostOf(t, bin, e, filepath.Join(t.TempDir(), "h.scan"))
			if len(h.Listeners) != 1 || h.Listeners[0].TLS != c.tls || h.Listeners[0].ClientCert != c.cert || h.Docker.TLSVerify != c.set || h.Docker.TLS != inventory.Yes {
				t.Errorf("listeners %+v, docker %+v", h.Listeners, h.Docker)
			}
			can := actors(t, hostScan(t, bin, e, "who-can-exec", "--from", "host", "box", "--json"))
			if got := len(can["anyone"]) > 0; got != c.anyone {
				t.Errorf("anyone %v: %v", got, can)
			}
		})
	}
}
