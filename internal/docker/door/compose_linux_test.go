package door_test

import (
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// stack is a project without networks: those would be the host's.
const stack = `version: "2.4"
services:
  web:
    image: ` + docker.Image + `
    command: ["/bin/sh", "-c", "echo up; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    network_mode: none
    environment: {GREETING: hello}
    volumes: ["data:/data"]
    labels: {of: stack}
    stop_grace_period: 5s
  side:
    image: ` + docker.Image + `
    command: ["/bin/sleep", "1000"]
    network_mode: none
    volumes_from: [web]
    depends_on: [web]
    stop_grace_period: 0s
  made:
    build: {context: ., network: none}
    network_mode: none
    profiles: [built]
volumes:
  data: {}
`

// composer returns what runs a stack: the docker command line with its plugin, where
// tests run on today's engine, else Debian's docker-compose.
func composer(t *testing.T) (program string, sub []string) {
	t.Helper()
	name := "docker-compose"
	if today() {
		name, sub = "docker", []string{"compose"}
	}
	program, err := testbed.LookPath(name)
	if err != nil {
		testbed.Lack(t, testbed.Docker, "program docker-compose is not installed (apt-get install docker-compose)")
	}
	return program, sub
}

// TestCompose: a stack's life by compose, with the door in between and without.
func TestCompose(t *testing.T) {
	e := docker.Shared(t)
	program, sub := composer(t)
	d := open(t, e, everything)
	sides(t, d, program, func(s *side) {
		s.sub = sub
		s.file("docker-compose.yml", stack)
		s.file("Dockerfile", "FROM "+docker.Image+"\nLABEL of="+s.name+"\nCMD [\"/bin/echo\",\"made\"]\n")
		s.env = append(s.env, "COMPOSE_PROJECT_NAME="+s.name, "COMPOSE_HTTP_TIMEOUT=60")
		defer func() {
			if got := s.docker("down", "-v", "--rmi", "local", "-t", "0"); got.Exit != 0 {
				s.t.Errorf("%s: %+v", s.name, got)
			}
			s.all[len(s.all)-1].Stderr = "" // it does several things at once
		}()
		s.ok("up", "-d")
		if today() {
			s.all[len(s.all)-1].Stderr = ""
		}
		if got := s.ok("ps", "-q"); got.Stdout != "ID\nID\n" {
			s.t.Errorf("%s: %+v", s.name, got)
		}
		s.docker("exec", "-T", "web", "/bin/sh", "-c", "echo $GREETING; echo bad >&2; echo kept >/data/f; exit 3")
		s.terminal(func(c *screen) {
			c.await("ready")
			c.types("/data/f\r")
		}, s.command("exec", "side", "/bin/sh", "-c", askFile+"; exit 4"))
		s.watch(syscall.SIGINT, contains("up"), s.command("logs", "--no-color", "-f", "web"))
		s.ok("build", "made") // by itself, since its progress may come behind what a run prints
		s.all[len(s.all)-1].Stdout, s.all[len(s.all)-1].Stderr = "", ""
		s.builds("run", "--rm", "-T", "made")
		if !today() {
			return
		}
		s.ok("cp", "Dockerfile", "web:/tmp/in")
		s.ok("cp", "web:/tmp/in", "out")
		s.run(nil, s.program("/bin/cat", "out"))
		s.docker("cp", "web:/nowhere", "out")
		s.docker("top", "nobody")
	})
	d.passed(t, "")
}
