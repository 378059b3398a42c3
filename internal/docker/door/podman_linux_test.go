package door_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/podman"
)

// behind returns a door in front of Podman, to which the docker command line is
// pointed as it is to an engine.
func behind(t testing.TB, s *podman.Service, rules string, change ...func(*door.Options, *guard.Options)) *doorway {
	t.Helper()
	return open(t, &docker.Engine{Dir: s.Dir, Socket: s.Socket, Address: s.Address}, rules, change...)
}

// podmanCLI returns a program that is the podman command line, as a client of
// DOCKER_HOST.
func podmanCLI(t testing.TB, s *podman.Service) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "podman")
	cmd := s.CLI(t.Context(), "")
	script := "#!/bin/sh\nunset DOCKER_CONFIG\nCONTAINERS_CONF=" + filepath.Join(s.Dir, "containers.conf") + " CONTAINERS_STORAGE_CONF=" + filepath.Join(s.Dir, "storage.conf") +
		" exec " + cmd.Path + " --remote --url \"$DOCKER_HOST\" \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// known says that every request had a route.
func (d *doorway) known(t *testing.T) {
	t.Helper()
	for _, r := range d.decided() {
		if r.Request.Channel == event.ChannelUnknown {
			t.Errorf("%s %s is not known", r.Request.Verb, r.Request.Path)
		}
	}
}

// TestPodmanWorkflows: what people do with podman --remote is, with the door in
// between, what it is without.
func TestPodmanWorkflows(t *testing.T) {
	s := podman.Shared(t)
	d := behind(t, s, everything)
	cli := podmanCLI(t, s)
	t.Run("group", func(t *testing.T) {
		for name, work := range map[string]func(*side){
			"run": func(s *side) {
				s.docker("run", "--rm", podman.Image, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
				s.in("one\n", "run", "-i", "--rm", podman.Image, "/bin/sh", "-c", "read x; echo got $x; exit 9")
				s.docker("run", "--rm", "--pull", "never", "no.such/image:1")
				s.gone(s.name)
				s.ok("create", "--name", s.name, "-e", "A=b", "-w", "/tmp", "-v", s.dir+":/d:ro", "-v", s.name+":/v", "--device", "/dev/null", "--health-cmd", "true",
					"--cap-add", "SYS_PTRACE", "--security-opt", "seccomp=unconfined", "--memory", "64m", podman.Image, "/bin/sh", "-c", "echo $A; pwd; exit 4")
				s.docker("start", "-a", s.name)
				s.docker("inspect", "-f", "{{.State.ExitCode}}", s.name)
			},
			"exec and cp": func(s *side) {
				s.box(podman.Image)
				s.docker("exec", "-u", "12:34", "-w", "/tmp", "-e", "A=b c", s.name, "/bin/sh", "-c", "id -u; pwd; echo $A; echo err >&2; exit 3")
				s.in(strings.Repeat("0123456789abcdef", 1<<15), "exec", "-i", s.name, "/bin/cat")
				s.docker("exec", "no-such-container", "/bin/true")
				s.ok("exec", "-d", s.name, "/bin/touch", "/tmp/detached")
				got := s.terminal(func(c *screen) {
					c.size(33, 77)
					c.await("33 77")
					c.types("\x03")
				}, s.command("exec", "-it", s.name, "/bin/sh", "-c", `trap "echo caught; exit 5" INT; `+showSize))
				if got.Exit != 5 {
					s.t.Errorf("%s: %+v", s.name, got)
				}
				s.all[len(s.all)-1].Stdout = ""
				s.file("f", "copied\n")
				s.ok("cp", "f", s.name+":/tmp/f")
				s.ok("cp", s.name+":/tmp/f", "g")
				s.run(nil, s.program("/bin/cat", "g"))
			},
			"a container's life": func(s *side) {
				s.box("-l", "a=b", podman.Image, "/bin/sh", "-c", "echo line; sleep 1000")
				s.docker("ps", "--no-trunc", "--filter", "name="+s.name, "--format", "{{.Image}} {{.Command}} {{.Names}} {{.Labels}}")
				s.docker("logs", s.name)
				s.ok("restart", "-t", "0", s.name)
				// Podman keeps equal layers once: rmi of the one side would take the layer away
				// under the other's commit.
				s.ok("exec", s.name, "/bin/touch", "/tmp/"+s.name)
				s.ok("commit", "-q", s.name, "sallyport.test/"+s.name)
				s.ok("rmi", "sallyport.test/"+s.name)
				s.docker("image", "exists", podman.Image)
				s.ok("rm", "-f", "-t", "0", s.name)
				s.all[len(s.all)-1].Stdout = "" // what the daemon was asked for: a name, or the id
			},
			"a pod": func(s *side) {
				s.ok("pod", "create", "--name", s.name, "--infra-image", podman.Image, "--infra-command", "/bin/sleep 1000", "--network", "none")
				s.ok("run", "--rm", "--pod", s.name, podman.Image, "/bin/echo", "in a pod")
				s.ok("pod", "rm", "-f", "-t", "0", s.name)
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				sides(t, d, cli, work)
			})
		}
	})
	d.passed(t, "/podman")
	d.known(t)
}

// TestPodmanByDocker: the docker command line, and Docker's API, with Podman behind
// the door.
func TestPodmanByDocker(t *testing.T) {
	s := podman.Shared(t)
	d := behind(t, s, everything)
	cli, err := testbed.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	sides(t, d, cli, func(s *side) {
		s.docker("run", "--rm", "--network", "none", podman.Image, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
		s.box("--network", "none", "-v", s.dir+":/d:ro", "--health-cmd", "echo a b", podman.Image)
		s.docker("exec", s.name, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
		s.in("through\n", "exec", "-i", s.name, "/bin/cat")
		s.file("f", "copied\n")
		s.ok("cp", "f", s.name+":/tmp/f")
		s.ok("cp", s.name+":/tmp/f", "g")
		s.run(nil, s.program("/bin/cat", "g"))
		s.docker("exec", "no-such-container", "/bin/true")
		s.ok("stop", "-t", "0", s.name)
		s.ok("start", s.name)
	})
	d.passed(t, "/docker")
	d.known(t)
}

// TestPodmanRequests: what Podman's own API is asked for has the fields of what
// Docker's is.
func TestPodmanRequests(t *testing.T) {
	s := podman.Shared(t)
	d := behind(t, s, everything)
	if _, err := testbed.Output(s.CLI(t.Context(), "", "volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/srv", "requests")); err != nil {
		t.Fatal(err)
	}
	body := `{"image":"` + podman.Image + `","name":"requests","entrypoint":["/bin/sh","-c"],"command":["sleep 9"],"terminal":true,"stdin":true,"user":"12",` +
		`"privileged":false,"env":{"LD_PRELOAD":"/x.so","A":"b"},"secret_env":{"BASH_ENV":"s"},"labels":{"env":"prod"},"work_dir":"/tmp","oci_runtime":"/opt/other",` +
		`"healthconfig":{"Test":["CMD-SHELL","touch /x"],"Interval":1000000000},"pidns":{"nsmode":"host"},"ipcns":{"nsmode":"path","value":"/proc/1/ns/ipc"},` +
		`"mounts":[{"destination":"/a","type":"bind","source":"/tmp/../etc","options":["rbind"]}],"overlay_volumes":[{"destination":"/b","source":"/usr","options":["upperdir=/var/up,workdir=/var/work"]}],` +
		`"volumes":[{"Name":"requests","Dest":"/v"}],"devices":[{"path":"/dev/null:/dev/n:rwm"}],"device_cgroup_rule":[{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}],` +
		`"cap_add":["CAP_SYS_ADMIN"],"unmask":["ALL"],"seccomp_profile_path":"unconfined","sysctl":{"kernel.msgmax":"65536"},"cgroup_parent":"/elsewhere","cgroups_mode":"disabled","netns":{"nsmode":"none"},` +
		`"log_configuration":{"path":"/var/log/x"}}`
	talk(t, d.socket, request("POST /v4.3.1/libpod/containers/create", body, "Connection: close"), false, nil)
	got := d.decided()[0].Request
	stdin := true
	want := session.Session{
		Kind: session.KindStart, Channel: event.ChannelDockerRun, Argv: []string{"/bin/sh", "-c", "sleep 9"}, ArgvSource: "request", TTY: true, Stdin: &stdin, User: "12",
		Target: session.Target{
			ContainerName: "requests", Image: podman.Image, Runtime: "/opt/other", Labels: map[string]string{"env": "prod"},
			HostAccess: &event.HostAccess{
				Namespaces: []string{"ipc", "pid"}, Capabilities: []string{"SYS_ADMIN"}, Devices: []string{"/dev/null"},
				Paths: []string{"/etc", "/opt/other", "/srv", "/usr", "/var/log/x", "/var/up", "/var/work"},
			},
		},
		Carried: []session.Carried{
			{Place: session.PlaceHealthcheck, Argv: []string{"/bin/sh", "-c", "touch /x"}},
			{Place: session.PlaceVariable, Name: "BASH_ENV", Argv: []string{"(a secret)"}},
			{Place: session.PlaceVariable, Name: "LD_PRELOAD", Argv: []string{"/x.so"}},
		},
		Settings: &session.Settings{
			Dir: "/tmp", Variables: []string{"A", "BASH_ENV", "LD_PRELOAD", "PATH"}, Security: []string{"cgroups=disabled", "seccomp=unconfined", "systempaths=unconfined", "unmask=ALL"},
			Sysctls: []string{"kernel.msgmax=65536"}, DeviceRules: []string{"c 1:3 rwm"}, CgroupParent: "/elsewhere",
		},
	}
	if !strings.HasPrefix(got.Target.ImageID, "") || got.Target.ImageID == "" {
		t.Errorf("image %q", got.Target.ImageID)
	}
	got.ID, got.State, got.Started, got.Attribution, got.Actor, got.Target.ImageID = "", "", want.Started, want.Attribution, want.Actor, ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestPodmanJoins: what a container that is started takes with it from others is
// judged with it.
func TestPodmanJoins(t *testing.T) {
	s := podman.Shared(t)
	d := behind(t, s, strict)
	dead, err := testbed.Output(s.CLI(t.Context(), "", "create", podman.Image, "/bin/touch", "/FORBIDDEN"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.CLI(t.Context(), "", "rm", "-f", dead).Run() })
	live := s.RunT(t, podman.Image)
	for ref, want := range map[string]int{dead: 403, live: 204} {
		made := talk(t, d.socket, request("POST /v4.3.1/libpod/containers/create", fmt.Sprintf(`{"image":%q,"ipcns":{"nsmode":"container","value":%q},"netns":{"nsmode":"none"}}`, podman.Image, ref), "Connection: close"), false, nil)
		var v struct{ ID string }
		if err := json.Unmarshal([]byte(made.Stdout), &v); err != nil || v.ID == "" {
			t.Fatalf("%v %+v", err, made)
		}
		defer func() { _ = s.Remove(t.Context(), v.ID) }()
		got := talk(t, d.socket, request("POST /v4.3.1/libpod/containers/"+v.ID+"/start", "", "Connection: close"), false, nil)
		if !strings.Contains(got.Head, fmt.Sprintf(" %d ", want)) {
			t.Errorf("joined to %s: %+v, want %d", ref, got, want)
		}
	}
	if out, err := testbed.Output(s.CLI(t.Context(), "", "inspect", "-f", "{{.State.Status}}", dead)); err != nil || out != "created" {
		t.Errorf("%q %v", out, err)
	}
}

// TestPodmanRecorded: whether a stream is framed goes by the exec, as it does for
// Podman, whatever the request to start it says.
func TestPodmanRecorded(t *testing.T) {
	s := podman.Shared(t)
	tapes := newDeck()
	d := behind(t, s, recording, func(o *door.Options, _ *guard.Options) { o.Recorder = tapes })
	id := s.RunT(t, podman.Image)
	for tty, want := range map[bool][3]string{true: {"", "out\r\n", ""}, false: {"", "out\n", ""}} {
		x := execOn(t, d.socket, id, fmt.Sprintf(`{"Cmd":["/bin/echo","out"],"AttachStdout":true,"Tty":%v}`, tty))
		talk(t, d.socket, request("POST /v4.3.1/libpod/exec/"+x+"/start", fmt.Sprintf(`{"Tty":%v}`, !tty), upgraded, toTCP), !tty, nil)
		got, _, end, request := tapes.last(t)
		if got != want || end.Exit == nil || *end.Exit != 0 || string(request.ExecID) != x {
			t.Errorf("terminal %v: %q, %+v", tty, got, end)
		}
	}
}

// TestPodmanNamed: what cannot be looked into goes on only by a rule that asks for
// its channel.
func TestPodmanNamed(t *testing.T) {
	s := podman.Shared(t)
	for rules, want := range map[string]string{
		"version: 1\ndefault: allow\n": " 403 ",
		"version: 1\ndefault: deny\nrules:\n  - {id: pods, when: 'session.channel == \"RT-PODMAN-API\"', effect: allow}\n": " 404 ",
	} {
		d := behind(t, s, rules)
		if got := talk(t, d.socket, asking("POST /v4.3.1/libpod/pods/nobody/start", ""), false, nil); !strings.Contains(got.Head, want) {
			t.Errorf("%s: %+v, want%s", rules, got, want)
		}
		if got := talk(t, d.socket, asking("GET /v4.3.1/libpod/pods/nobody/json", ""), false, nil); !strings.Contains(got.Head, " 404 ") {
			t.Errorf("%s: a read: %+v", rules, got)
		}
	}
}
