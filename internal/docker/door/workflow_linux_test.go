package door_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// TestWorkflows: what people do with the docker command line is, with the door in
// between, what it is without: exit status, output and, on a terminal, what stands
// there.
func TestWorkflows(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	cli, err := testbed.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("group", func(t *testing.T) {
		for name, work := range workflows {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				sides(t, d, cli, work)
			})
		}
	})
	d.passed(t, "/docker")
}

// passed says that nothing was stopped or misread, and that it is known who asked.
func (d *doorway) passed(t *testing.T, exe string) {
	t.Helper()
	for _, r := range d.decided() {
		if r.Stopped || r.Misread != "" {
			t.Errorf("%s %s %s: %s %s", r.Request.Kind, r.Request.Channel, r.Request.Path, r.Decision.Message, r.Misread)
		}
		if a := r.Request.Actor; a.UID == nil || *a.UID != 0 || !strings.HasSuffix(a.Exe, exe) {
			t.Errorf("%s: asked by %+v", r.Request.Channel, a)
		}
	}
}

// today reports whether tests run on a current engine and its clients, not on
// Debian's (make test-engine).
func today() bool { return testbed.Missing(testbed.Engine) == "" }

// debianCLI is a docker command line that has BuildKit's client in it, beside
// another that may stand before it.
const debianCLI = "/usr/bin/docker"

// builder returns a docker command line that has BuildKit's client: today's has it
// as a plugin, buildx.
func builder(t *testing.T) string {
	t.Helper()
	if today() {
		cli, err := testbed.LookPath("docker")
		if err != nil {
			t.Fatal(err)
		}
		return cli
	}
	if _, err := os.Stat(debianCLI); err != nil {
		testbed.Lack(t, testbed.Docker, debianCLI+", which has BuildKit's client in it, is not installed (apt-get install docker.io)")
	}
	return debianCLI
}

const (
	untilTold = `trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.1; done`
	// askFile prints the file whose name is typed.
	askFile  = `stty -echo; echo ready; read f; cat "$f"`
	showSize = `while :; do stty size; sleep 0.1; done`
)

var workflows = map[string]func(*side){
	"run": func(s *side) {
		s.ok("run", "--rm", docker.Image, "/bin/echo", "hello")
		s.docker("run", "--rm", docker.Image, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
		s.in("through and through\n", "run", "-i", "--rm", docker.Image, "/bin/cat")
		s.in("one\ntwo\n", "run", "-i", "--rm", docker.Image, "/bin/sh", "-c", "read x; echo $x; exit 9")
		s.docker("run", "--rm", docker.Image, "/bin/nowhere")
		s.docker("run", "--rm", "--pull", "never", "no.such/image:1")
		s.gone(s.name)
		s.ok("create", "--name", s.name, "-e", "A=b", "-w", "/tmp", docker.Image, "/bin/sh", "-c", "echo $A; pwd; exit 4")
		s.docker("start", "-a", s.name)
		s.docker("wait", s.name)
		s.docker("inspect", "-f", "{{.State.ExitCode}} {{.Config.Env}}", s.name)
	},
	"interrupt a run": func(s *side) {
		got := s.watch(syscall.SIGINT, contains("ready"), s.command("run", "--rm", "--name", s.name, docker.Image, "/bin/sh", "-c", untilTold))
		if got.Exit != 5 || !strings.Contains(got.Stdout, "caught") {
			s.t.Errorf("%s: %+v", s.name, got)
		}
	},
	"run -it": func(s *side) {
		got := s.terminal(func(c *screen) {
			c.size(33, 77)
			c.await("33 77")
			c.size(44, 99)
			c.await("44 99")
			c.types("\x03")
		}, s.command("run", "-it", "--rm", docker.Image, "/bin/sh", "-c", `trap "echo caught; exit 5" INT; `+showSize))
		if got.Exit != 5 {
			s.t.Errorf("%s: %+v", s.name, got)
		}
		s.all[len(s.all)-1].Stdout = "" // how often a size was shown before the next
	},
	"run -it and leave": func(s *side) {
		s.gone(s.name)
		s.terminal(func(c *screen) {
			c.await("ready")
			c.types("\x10\x11")
		}, s.command("run", "-it", "--name", s.name, docker.Image, "/bin/sh", "-c", untilTold))
		if got := s.docker("inspect", "-f", "{{.State.Running}}", s.name); got.Stdout != "true\n" {
			s.t.Errorf("%s: %+v", s.name, got)
		}
		s.terminal(func(c *screen) { c.types("\x03") }, s.command("attach", s.name))
	},
	"exec -it": func(s *side) {
		s.box(docker.Image)
		got := s.terminal(func(c *screen) {
			c.size(33, 77)
			c.await("33 77")
			c.size(44, 99)
			c.await("44 99")
			c.types("\x03")
		}, s.command("exec", "-it", s.name, "/bin/sh", "-c", `trap "echo caught; exit 5" INT; `+showSize))
		if got.Exit != 5 || !strings.Contains(got.Stdout, "caught") {
			s.t.Errorf("%s: %+v", s.name, got)
		}
		s.all[len(s.all)-1].Stdout = ""
		s.terminal(func(c *screen) {
			c.await("ready")
			c.types("/proc/self/comm\r")
			c.await("cat")
			c.types("\x04") // the end of the input
		}, s.command("exec", "-it", s.name, "/bin/sh", "-c", askFile+"; cat; exit 4"))
		s.terminal(func(c *screen) {
			c.await("ready")
			c.types("\x10\x11")
		}, s.command("exec", "-it", s.name, "/bin/sh", "-c", untilTold))
		s.terminal(func(c *screen) {
			c.await("ready")
			c.types("xy")
		}, s.command("exec", "-it", "--detach-keys", "x,y", s.name, "/bin/sh", "-c", untilTold))
	},
	"exec": func(s *side) {
		s.box(docker.Image)
		s.ok("exec", s.name, "/bin/echo", "a b", "c")
		s.docker("exec", s.name, "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
		s.ok("exec", "-u", "12:34", "-w", "/tmp", "-e", "A=b c", s.name, "/bin/sh", "-c", "id; pwd; echo $A")
		big := strings.Repeat("0123456789abcdef", 1<<17)
		got := s.in(big, "exec", "-i", s.name, "/bin/cat")
		if got.Stdout != big {
			s.t.Errorf("%s: %d bytes of %d", s.name, len(got.Stdout), len(big))
		}
		s.all[len(s.all)-1].Stdout = ""
		s.in("x", "exec", "-i", s.name, "/bin/sh", "-c", "cat; exit 6")
		s.ok("exec", "-d", s.name, "/bin/touch", "/tmp/detached")
		s.docker("exec", s.name, "/bin/nowhere")
		s.docker("exec", "-w", "/nowhere", s.name, "/bin/true")
		s.docker("exec", "no-such-container", "/bin/true")
		s.docker("exec", "-t", s.name, "/bin/busybox", "tty")
		s.ok("kill", s.name)
		s.docker("exec", s.name, "/bin/true")
	},
	"attach": func(s *side) {
		s.box("-i", docker.Image, "/bin/sh", "-c", "while read x; do [ $x = quit ] && break; echo got $x; echo bad >&2; done; echo over; exit 8")
		s.talks(func(say func(string), await func(string)) {
			say("one\ntwo\n")
			await("got two")
			say("quit\n")
			await("over")
		}, s.command("attach", s.name))
		s.docker("wait", s.name)
		s.docker("logs", s.name)
		s.docker("attach", s.name)
	},
	"cp": func(s *side) {
		s.box(docker.Image)
		s.file("tree/a", "a\n")
		s.file("tree/deep/b", strings.Repeat("b", 1<<20))
		s.ok("cp", "tree", s.name+":/tmp/")
		s.ok("cp", s.name+":/tmp/tree/deep/b", "back")
		s.ok("cp", s.name+":/tmp/tree", "all")
		s.run(nil, s.program("/bin/sh", "-c", "cd all && find . -type f | sort | xargs sha256sum"))
		tar := s.run(nil, s.program("/bin/sh", "-c", "tar --sort=name --mtime=@0 -c tree | "+s.cli+" cp - "+s.name+":/root"))
		if tar.Exit != 0 {
			s.t.Errorf("%s: %+v", s.name, tar)
		}
		s.run(nil, s.program("/bin/sh", "-c", s.cli+" cp "+s.name+":/root/tree - | tar -t"))
		s.ok("exec", s.name, "/bin/sh", "-c", "cat /root/tree/a; wc -c /root/tree/deep/b")
		s.docker("cp", s.name+":/nowhere", ".")
		s.docker("cp", "nothing", s.name+":/tmp")
		s.docker("cp", "tree/a", s.name+":/nowhere/at/all")
		s.docker("cp", "no-such-container:/etc", ".")
	},
	"logs": func(s *side) {
		s.box(docker.Image, "/bin/sh", "-c", "for i in 1 2 3; do echo line $i; echo bad $i >&2; sleep 0.3; done")
		got := s.ok("logs", "-f", s.name)
		if got.Stdout != "line 1\nline 2\nline 3\n" {
			s.t.Errorf("%s: %+v", s.name, got)
		}
		s.gone(s.name + "3")
		s.ok("run", "--name", s.name+"3", docker.Image, "/bin/sh", "-c", "echo one; echo two")
		s.docker("logs", "-t", "--tail", "1", s.name+"3")
		s.docker("logs", "--since", "1h", s.name)
		s.docker("logs", "no-such-container")
		s.gone(s.name + "2")
		s.ok("run", "-d", "--name", s.name+"2", docker.Image, "/bin/sh", "-c", "echo first; sleep 1000")
		s.watch(syscall.SIGINT, contains("first"), s.command("logs", "-f", s.name+"2"))
	},
	"events": func(s *side) {
		s.box(docker.Image)
		cmd := s.command("events", "--since", "1m", "--filter", "container="+s.name, "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}")
		seen := s.watch(syscall.SIGTERM, func(seen string) bool {
			if !strings.Contains(seen, "exec_create") && strings.Contains(seen, "start") {
				s.ok("exec", s.name, "/bin/true")
			}
			return strings.Contains(seen, "exec_die")
		}, cmd)
		if !strings.Contains(seen.Stdout, "container exec_start: /bin/true") {
			s.t.Errorf("%s: %+v", s.name, seen)
		}
		s.ok("kill", s.name)
		// The end is cut to whole seconds: let it be the next one.
		s.docker("events", "--since", "1m", "--until=-1s", "--filter", "container="+s.name, "--filter", "event=kill", "--format", "{{json .Actor.Attributes}}")
	},
	"stats": func(s *side) {
		s.box(docker.Image)
		s.docker("stats", "--no-stream", "--format", "{{.Name}} {{.ID}}", s.name)
		s.watch(syscall.SIGKILL, func(seen string) bool { return strings.Count(seen, s.name) > 1 }, s.command("stats", "--format", "{{.Name}}", s.name))
		s.all[len(s.all)-1].Stdout = "" // how often the screen was drawn
		s.docker("stats", "--no-stream", "no-such-container")
	},
	"a container's life": func(s *side) {
		s.box("--network", "none", "-l", "a=b", docker.Image)
		s.docker("ps", "--no-trunc", "--filter", "name="+s.name, "--format", "{{.ID}} {{.Image}} {{.Command}} {{.Names}} {{.Labels}}")
		s.docker("top", s.name, "-eo", "comm,args")
		s.ok("rename", s.name, s.name+"b")
		s.gone(s.name + "b")
		s.ok("pause", s.name+"b")
		s.ok("unpause", s.name+"b")
		s.ok("update", "--memory", "64m", "--memory-swap", "64m", s.name+"b")
		s.ok("diff", s.name+"b")
		s.ok("stop", "-t", "0", s.name+"b")
		s.ok("start", s.name+"b")
		s.ok("restart", "-t", "0", s.name+"b")
		s.docker("rm", s.name+"b")
		s.ok("rm", "-f", s.name+"b")
	},
	"images": func(s *side) {
		s.box(docker.Image)
		s.t.Cleanup(func() { _ = s.e.CLI(s.t.Context(), "rmi", "-f", "sallyport.test/"+s.name).Run() })
		image := "sallyport.test/" + s.name
		s.ok("exec", s.name, "/bin/touch", "/made")
		s.ok("commit", "-m", "message", "-c", `CMD ["/bin/ls","/made"]`, s.name, image+":1")
		s.ok("run", "--rm", image+":1")
		s.ok("tag", image+":1", image+":2")
		s.docker("images", "--format", "{{.Repository}} {{.Tag}}", image)
		s.docker("history", "--format", "{{.CreatedBy}} {{.Comment}}", image+":1")
		s.ok("save", "-o", "image.tar", image+":1")
		s.ok("rmi", image+":1", image+":2")
		s.all[len(s.all)-1].Stdout = "" // a layer may be the other side's, too
		s.ok("load", "-i", "image.tar")
		s.ok("run", "--rm", image+":1")
		s.ok("export", "-o", "rootfs.tar", s.name)
		s.ok("import", "-c", `CMD ["/bin/ls","/made"]`, "rootfs.tar", image+":3")
		s.ok("run", "--rm", image+":3")
		s.in("no tar", "load")
		s.docker("rmi", "no.such/image")
		s.ok("rmi", image+":1", image+":3")
		s.all[len(s.all)-1].Stdout = ""
	},
	"a registry that is not there": func(s *side) {
		for _, args := range [][]string{{"pull", "127.0.0.1:1/none:1"}, {"push", "127.0.0.1:1/none:1"}, {"login", "-u", "u", "-p", "p", "127.0.0.1:1"}} {
			if got := s.docker(args...); got.Exit == 0 {
				s.t.Errorf("%s: %+v", s.name, got)
			}
		}
	},
	"volumes": func(s *side) {
		s.ok("volume", "create", "--label", "a=b", s.name)
		s.ok("run", "--rm", "-v", s.name+":/data", docker.Image, "/bin/sh", "-c", "echo kept >/data/f")
		s.ok("run", "--rm", "--mount", "type=volume,source="+s.name+",target=/data,readonly", docker.Image, "/bin/cat", "/data/f")
		s.docker("volume", "inspect", "-f", "{{.Name}} {{.Labels}}", s.name)
		s.docker("volume", "ls", "-q", "--filter", "name="+s.name)
		s.ok("volume", "rm", s.name)
		s.docker("volume", "rm", s.name)
	},
	"a context": func(s *side) {
		s.box(docker.Image)
		host := ""
		for i, v := range s.env {
			if h, ok := strings.CutPrefix(v, "DOCKER_HOST="); ok {
				host, s.env = h, slices.Concat(s.env[:i], s.env[i+1:], []string{"DOCKER_CONFIG=" + s.dir})
			}
		}
		s.ok("context", "create", "there", "--docker", "host="+host)
		s.all = s.all[:len(s.all)-1]
		s.ok("--context", "there", "exec", s.name, "/bin/echo", "hello")
		s.ok("context", "use", "there")
		s.in("in\n", "exec", "-i", s.name, "/bin/cat")
	},
	"build, classic": func(s *side) { build(s, "0") },
	"dial-stdio": func(s *side) {
		got := s.in("GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", "system", "dial-stdio")
		if !strings.HasPrefix(got.Stdout, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got.Stdout, "\r\n\r\nOK") {
			s.t.Errorf("%s: %+v", s.name, got)
		}
		s.all[len(s.all)-1].Stdout, s.all[len(s.all)-1].Stderr = headsInOrder(got.Stdout), "" // it may complain that the daemon was faster
	},
}

// headsInOrder returns an answer with the fields of its head in order.
func headsInOrder(text string) string {
	head, body, _ := strings.Cut(dates.ReplaceAllString(text, "Date: -\r"), "\r\n\r\n")
	fields := strings.Split(head, "\r\n")
	slices.Sort(fields[1:])
	return strings.Join(append(fields, body), "\n")
}

func contains(text string) func(string) bool {
	return func(seen string) bool { return strings.Contains(seen, text) }
}

// build builds images with one of the builders that the daemon has in it.
func build(s *side, kit string) {
	s.env = append(s.env, "DOCKER_BUILDKIT="+kit)
	image := "sallyport.test/build" + s.name
	s.t.Cleanup(func() { _ = exec.Command(s.cli, "-H", s.e.Address, "rmi", "-f", image).Run() })
	busybox, err := testbed.LookPath("busybox")
	if err != nil {
		s.t.Error(err)
		return
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.file("ctx/busybox", string(program))
	s.file("ctx/ignored", "x")
	s.file("ctx/.dockerignore", "ignored\n")
	s.file("ctx/data", s.name) // so that no side takes from the cache what the other made
	s.file("ctx/Dockerfile", `FROM scratch AS base
ARG WORD=none
COPY busybox /bin/busybox
COPY . /ctx
RUN ["/bin/busybox","sh","-c","/bin/busybox echo $WORD >/word; /bin/busybox ls /ctx >/list"]
FROM base
LABEL of=`+s.name+`
CMD ["/bin/busybox","cat","/word","/list","/ctx/data"]
`)
	args := []string{"build", "--network", "none", "-t", image, "--build-arg", "WORD=spoken"}
	s.builds(append(args, "ctx")...)
	if got := s.ok("run", "--rm", image); got.Stdout != "spoken\nDockerfile\nbusybox\ndata\nNAME" {
		s.t.Errorf("%s: %+v", s.name, got)
	}
	s.file("broken/Dockerfile", "FROM "+docker.Image+"\nRUN [\"/bin/sh\",\"-c\",\"exit 23\"]\n")
	if got := s.builds("build", "--network", "none", "broken"); got.Exit == 0 || !strings.Contains(got.Stderr, "23") {
		s.t.Errorf("%s: %+v", s.name, got)
	}
	s.file("misspelt/Dockerfile", "FRM scratch\n")
	s.builds("build", "misspelt")
	in := s.command("build", "-t", image, "-")
	s.run(strings.NewReader("FROM "+docker.Image+"\nLABEL from=stdin\n"), in)
	s.lastLine()
}

// builds is docker, of what it prints on the way only the last line.
func (s *side) builds(args ...string) step {
	got := s.docker(args...)
	s.lastLine()
	return got
}

var spent = regexp.MustCompile(`^#\d+ |\b\d+\.\d+s`)

// lastLine leaves of what a step printed the last line.
func (s *side) lastLine() {
	got := &s.all[len(s.all)-1]
	for _, text := range []*string{&got.Stdout, &got.Stderr} {
		trimmed := strings.TrimRight(*text, "\n")
		*text = spent.ReplaceAllString(trimmed[strings.LastIndexByte(trimmed, '\n')+1:], "SECONDS")
	}
}

// TestBuildKit: builds of BuildKit, by the sessions that the daemon opens to the
// client: its files, its secrets, and where what was built is to go.
func TestBuildKit(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	sides(t, d, builder(t), func(s *side) {
		build(s, "1")
		s.file("secret", "not for the image")
		s.file("more/Dockerfile", "FROM "+docker.Image+` AS made
RUN --mount=type=secret,id=word ["/bin/sh","-c","wc -c </run/secrets/word >/size"]
FROM scratch
COPY --from=made /size /`+s.name+"\n")
		s.builds("build", "--network", "none", "--secret", "id=word,src=secret", "--output", "type=local,dest=out", "more")
		if b, err := os.ReadFile(filepath.Join(s.dir, "out", s.name)); err != nil || string(bytes.TrimSpace(b)) != "17" {
			s.t.Errorf("%s: %v %q", s.name, err, b)
		}
		s.builds("build", "--network", "none", "--secret", "id=word,src=secret", "--output", "type=tar,dest=out.tar", "more")
		s.run(nil, s.program("/bin/tar", "-tf", "out.tar"))
	})
	client, paths := debianCLI, []string{"/build", "/session"}
	if today() {
		client, paths = "", []string{"/grpc", "/session"} // of the command line and of buildx
	}
	d.passed(t, client)
	seen := map[string]bool{}
	for _, r := range d.decided() {
		seen[r.Request.Path] = true
	}
	for _, path := range paths {
		if !seen[path] {
			t.Errorf("%s was not asked for", path)
		}
	}
}
