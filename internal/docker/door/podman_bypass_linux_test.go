package door_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/podman"
)

// cell is an arena on Podman.
type cell struct {
	arena
	s    *podman.Service
	file string // on the host, where nothing may come about
}

// asking is a request after which the connection ends.
func asking(line, body string, headers ...string) string {
	return request(line, body, append(headers, "Connection: close")...)
}

// post makes such a request, in which {C}, {S}, {N} and {LINK} stand for the cell's.
func (c *cell) post(path, body string, headers ...string) {
	fill := strings.NewReplacer("{C}", c.container, "{S}", c.container[:12], "{N}", c.name, "{LINK}", c.link).Replace
	c.raw(asking("POST "+fill(path), fill(body), headers...))
}

// over has Podman's own path of a container, or of one to be made.
func over(what, body string, headers ...string) func(*cell) {
	return func(c *cell) { c.post("/v4.3.1/libpod/containers/"+what, body, headers...) }
}

// the returns a request's body for a container of Podman's own API: it has no
// network, and what more says.
func the(more string) string {
	return `{"image":"` + podman.Image + `","netns":{"nsmode":"none"},` + more + `}`
}

// likewise is the same in Docker's API.
func likewise(config, host string) func(*cell) {
	return func(c *cell) {
		c.post("/v1.41/containers/create", `{`+anImage+config+`,"HostConfig":{"NetworkMode":"none"`+host+`}}`)
	}
}

// beside makes something without the door, by the podman command line, and returns
// what it prints.
func (c *cell) beside(args ...string) string {
	out, err := testbed.Output(c.s.CLI(context.Background(), "", args...))
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// finish starts, the same way, whatever was made: execs, containers and pods.
func (c *cell) finish() {
	for _, m := range ids.FindAllStringSubmatch(c.answers.String(), -1) {
		c.post("/v4.3.1/libpod/exec/"+m[1]+"/start", `{"Detach":true}`)
		c.post("/v4.3.1/libpod/containers/"+m[1]+"/start", "")
		c.post("/v4.3.1/libpod/pods/"+m[1]+"/start", "")
	}
}

// ask asks Podman itself.
func (c *cell) ask(path string, into any) bool {
	body, err := c.s.Get(c.t.Context(), "/v4.3.1/libpod"+path)
	return err == nil && json.Unmarshal(body, into) == nil
}

// ran says what of what is denied came about; "" for nothing.
func (c *cell) ran() string {
	for _, dir := range []string{"/tmp", "/"} {
		f := filepath.Join("/proc", fmt.Sprint(c.pid), "root", dir, "FORBIDDEN")
		if os.Remove(f) == nil {
			return "the command ran in the container"
		}
	}
	if os.Remove(c.file) == nil {
		return "the command ran on the host"
	}
	var made []string
	for _, m := range ids.FindAllStringSubmatch(c.answers.String(), -1) {
		made = append(made, m[1])
		var pod struct{ Containers []struct{ ID string } }
		if c.ask("/pods/"+m[1]+"/json", &pod) {
			for _, p := range pod.Containers {
				made = append(made, p.ID)
			}
		}
	}
	for _, id := range made {
		if why := c.started(id); why != "" {
			return why
		}
	}
	return ""
}

// started says what a container that was started has that it may not.
func (c *cell) started(id string) string {
	var v struct {
		Path  string
		Args  []string
		State struct {
			Pid       int
			StartedAt string
		}
		Config struct {
			Env         []string
			Healthcheck *struct{ Test []string }
		}
	}
	if !c.ask("/containers/"+id+"/json", &v) || strings.HasPrefix(v.State.StartedAt, "0001-") {
		return ""
	}
	if b, err := json.Marshal(v); err != nil || strings.Contains(string(b), "FORBIDDEN") {
		return "a container with the command was started"
	}
	if v.State.Pid == 0 {
		return ""
	}
	proc := filepath.Join("/proc", fmt.Sprint(v.State.Pid))
	for _, dir := range []string{"e", "etc"} {
		if _, err := os.Lstat(filepath.Join(proc, "root", dir, "debian_version")); err == nil {
			return "a container has the host's /etc"
		}
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if theirs, failed := os.Readlink(proc + "/ns/pid"); err == nil && failed == nil && own == theirs {
		return "a container has the host's processes"
	}
	return ""
}

func (c *cell) clean() {
	for _, m := range ids.FindAllStringSubmatch(c.answers.String(), -1) {
		for _, what := range []string{"pods/", "containers/"} {
			talk(c.t, c.s.Socket, asking("DELETE /v4.3.1/libpod/"+what+m[1]+"?force=true&timeout=0", ""), false, nil)
		}
	}
}

func dodges() []attempt[*cell] {
	exec := func(path, body string, headers ...string) func(*cell) {
		return func(c *cell) { c.post(path, body, headers...) }
	}
	const at = "/v4.3.1/libpod/containers/{C}/exec"
	own := func(more string) func(*cell) { return over("create", the(more)) }
	untyped := strings.Replace(asking("POST "+at, execIt), "Content-Type: application/json\r\n", "", 1)
	return append(dodgesOfDocker(), []attempt[*cell]{
		{"plain", true, exec(at, execIt)},
		{"without a media type", true, func(c *cell) { c.raw(untyped) }},
		{"with an empty media type", true, exec(at, execIt, "Content-Type:")},
		{"as text", true, exec(at, execIt, "Content-Type: text/plain")},
		{"as a form", false, exec(at, execIt, "Content-Type: application/x-www-form-urlencoded")},
		{"keys in mixed case", true, exec(at, `{"cMD":`+touch+`}`)},
		{"duplicate key", true, exec(at, `{"Cmd":["/bin/true"],"Cmd":`+touch+`}`)},
		{"duplicate key in another case", true, exec(at, `{"Cmd":["/bin/true"],"CMD":`+touch+`}`)},
		{"something behind the body", true, exec(at, execIt+`{"Cmd":["/bin/true"]}`)},
		{"body behind the body", false, exec(at, harm+execIt)},
		{"padding over the limit", true, exec(at, strings.Repeat(" ", 5<<20)+execIt)},
		{"chunked", true, exec(at, chunked(execIt), "Transfer-Encoding: chunked")},
		{"content encoding", true, exec(at, execIt, "Content-Encoding: gzip")},
		{"short id", true, exec("/v4.3.1/libpod/containers/{S}/exec", execIt)},
		{"name", true, exec("/v4.3.1/libpod/containers/{N}/exec", execIt)},
		{"escaped name", true, func(c *cell) { c.post("/v4.3.1/libpod/containers/%63"+c.name[1:]+"/exec", execIt) }},
		{"no version", false, exec("/libpod/containers/{C}/exec", execIt)},
		{"version of one number", true, exec("/v4/libpod/containers/{C}/exec", execIt)},
		{"version of many", true, exec("/v4.3.1.2-x/libpod/containers/{C}/exec", execIt)},
		{"version that is none", true, exec("/v0../libpod/containers/{C}/exec", execIt)},
		{"Docker's path with Podman's version", true, exec("/v4.3.1/containers/{C}/exec", execIt)},
		{"Docker's path", true, exec("/containers/{C}/exec", execIt)},
		{"escaped path", false, exec("/v4.3.1/libpod/containers/{C}/e%78ec", execIt)},
		{"escaped slash", false, exec("/v4.3.1/libpod%2Fcontainers/{C}/exec", execIt)},
		{"escaped slash behind a name", false, exec("/v4.3.1/libpod/containers/{C}%2Fexec", execIt)},
		{"two slashes", false, exec("/v4.3.1/libpod//containers/{C}/exec", execIt)},
		{"dots", false, exec("/v4.3.1/x/../libpod/containers/{C}/exec", execIt)},
		{"capitals", false, exec("/v4.3.1/Libpod/containers/{C}/exec", execIt)},
		{"method in a header", false, func(c *cell) { c.raw(asking("GET "+at, execIt, "X-HTTP-Method-Override: POST")) }},
		{"pipelined behind a read", true, func(c *cell) { c.raw(request("GET /libpod/_ping", "") + asking("POST "+at, execIt)) }},
		{"the container's own health check", true, func(c *cell) { c.raw(asking("GET /v4.3.1/libpod/containers/{C}/healthcheck", "")) }},

		{"create", true, own(`"command":` + touch)},
		{"create, entrypoint", true, own(`"entrypoint":["/bin/touch"],"command":["/FORBIDDEN"]`)},
		{"create, keys in another case", true, own(`"ENTRYPOINT":["/bin/touch"],"Command":["/FORBIDDEN"]`)},
		{"create, duplicate key", true, own(`"command":["/bin/true"],"command":` + touch)},
		{"create, health check", true, own(`"healthconfig":{"Test":["CMD-SHELL","touch /FORBIDDEN"],"Interval":0,"Timeout":1000000000,"Retries":1}`)},
		{"create, health check without a keyword", true, own(`"healthconfig":{"Test":["/bin/touch","/FORBIDDEN"],"Timeout":1000000000,"Retries":1}`)},
		{"create, variable", true, own(`"env":{"LD_PRELOAD":"/FORBIDDEN"}`)},
		{"create, variable by merging", false, own(`"envmerge":["LD_PRELOAD=/FORBIDDEN"]`)},
		{"create, mount", true, own(`"mounts":[{"destination":"/e","type":"bind","source":"/etc","options":["rbind"]}]`)},
		{"create, mount unclean", true, own(`"mounts":[{"destination":"/e","type":"bind","source":"/tmp/../etc","options":["rbind"]}]`)},
		{"create, mount of a link", true, own(`"mounts":[{"destination":"/e","type":"bind","source":"{LINK}","options":["rbind"]}]`)},
		{"create, mount of another type", false, own(`"mounts":[{"destination":"/e","type":"tmpfs","source":"/etc","options":["rbind"]}]`)},
		{"create, mount of a file system", true, own(`"mounts":[{"destination":"/e","type":"overlay","source":"overlay","options":["lowerdir=/etc:/usr","ro"]}]`)},
		{"create, overlay", true, own(`"overlay_volumes":[{"destination":"/e","source":"/etc"}]`)},
		{"create, volume that is a directory", true, func(c *cell) {
			c.post("/v4.3.1/libpod/volumes/create", `{"Name":"pod-made-{N}","Driver":"local","Options":{"type":"none","o":"bind","device":"/etc"}}`)
			c.post("/v4.3.1/libpod/containers/create", the(`"volumes":[{"Name":"pod-made-{N}","Dest":"/e"}]`))
		}},
		{"create, volume that was made beside the door", true, own(`"volumes":[{"name":"pod-volume","dest":"/e"}]`)},
		{"create, other's volumes", true, func(c *cell) {
			other := c.beside("create", "-v", "/etc:/e", podman.Image)
			c.post("/v4.3.1/libpod/containers/create", the(`"volumes_from":["`+other+`"]`))
			c.finish()
			c.beside("rm", "-f", "-t", "0", "--depend", other)
		}},
		{"create, host's pids", true, own(`"pidns":{"nsmode":"host"}`)},
		{"create, host's pids in another case", true, own(`"PIDNS":{"NSMode":"host"}`)},
		{"create, host's pids by their path", true, own(fmt.Sprintf(`"pidns":{"nsmode":"path","value":"/proc/%d/ns/pid"}`, os.Getpid()))},
		{"create, in a pod with the host's pids", true, func(c *cell) {
			c.beside("pod", "create", "--name", "pod-"+c.name, "--infra-image", podman.Image, "--infra-command", "/bin/sleep 1000", "--network", "none", "--pid", "host", "--share", "pid")
			c.post("/v4.3.1/libpod/containers/create", `{"image":"`+podman.Image+`","pod":"pod-{N}"}`)
			c.finish()
			got := c.ran()
			c.beside("pod", "rm", "-f", "-t", "0", "pod-"+c.name)
			if got != "" {
				_ = os.WriteFile(c.file, nil, 0o600) // it is gone, and had come about
			}
		}},
		{"a pod's command", true, func(c *cell) {
			c.post("/v4.3.1/libpod/pods/create", `{"name":"cmd-{N}","infra_image":"`+podman.Image+`","infra_command":["/bin/touch","/FORBIDDEN"],"netns":{"nsmode":"none"}}`)
		}},
		{"a file of Kubernetes", false, func(c *cell) {
			c.post("/v4.3.1/libpod/play/kube", "apiVersion: v1\nkind: Pod\nmetadata: {name: kube}\nspec: {containers: [{name: c, image: "+podman.Image+`, command: [touch, /FORBIDDEN]}]}`, "Content-Type: text/plain")
		}},
		{"start of what was made beside the door", true, func(c *cell) {
			fmt.Fprintf(&c.answers, `"Id":"%s"`, c.beside("create", podman.Image, "/bin/touch", "/FORBIDDEN"))
		}},
		{"restart of what was made beside the door", true, func(c *cell) {
			id := c.beside("create", podman.Image, "/bin/touch", "/FORBIDDEN")
			fmt.Fprintf(&c.answers, `"Id":"%s"`, id)
			c.post("/v4.3.1/libpod/containers/"+id+"/restart?timeout=0", "")
		}},
		{"start of what another needs", true, func(c *cell) {
			id := c.beside("create", podman.Image, "/bin/touch", "/FORBIDDEN")
			c.post("/v4.3.1/libpod/containers/create", the(`"ipcns":{"nsmode":"container","value":"`+id+`"}`))
			c.finish()
			fmt.Fprintf(&c.answers, `"Was":"%s"`, id)
			if c.started(id) != "" {
				_ = os.WriteFile(c.file, nil, 0o600)
			}
			c.beside("rm", "-f", "-t", "0", "--depend", id)
		}},
		{"start of what another is said to need", true, func(c *cell) {
			id := c.beside("create", podman.Image, "/bin/touch", "/FORBIDDEN")
			c.post("/v4.3.1/libpod/containers/create", the(`"dependencyContainers":["`+id+`"]`))
			c.finish()
			if c.started(id) != "" {
				_ = os.WriteFile(c.file, nil, 0o600)
			}
			c.beside("rm", "-f", "-t", "0", "--depend", id)
		}},
		{"archive", true, func(c *cell) {
			c.raw(asking("PUT /v4.3.1/libpod/containers/{C}/archive?path=/tmp", string(tarOf(c.t, "FORBIDDEN")), "Content-Type: application/x-tar"))
		}},
		{"archive, its path in another case", true, func(c *cell) {
			c.raw(asking("PUT /v4.3.1/libpod/containers/{C}/archive?Path=/tmp", string(tarOf(c.t, "FORBIDDEN")), "Content-Type: application/x-tar"))
		}},
		{"commit by changes", true, func(c *cell) {
			c.post("/v4.3.1/libpod/commit?container={C}&repo=sallyport.test/by-{N}&tag=1&changes=CMD+touch+/FORBIDDEN", "")
			c.post("/v4.3.1/libpod/containers/create", `{"image":"sallyport.test/by-{N}:1","netns":{"nsmode":"none"}}`)
		}},
		{"a secret's driver", true, func(c *cell) {
			run := fmt.Sprintf(`{"list":"true","lookup":"true","delete":"true","store":"touch %s"}`, c.file)
			c.post("/v4.3.1/libpod/secrets/create?name=s-{N}&driver=shell&driveropts="+url.QueryEscape(run), "secret")
		}},
	}...)
}

// dodgesOfDocker are ways in Docker's API that Docker does not have: Podman makes a
// command line of what is asked for.
func dodgesOfDocker() []attempt[*cell] {
	return []attempt[*cell]{
		{"as Docker", true, likewise(`,"Cmd":`+touch, "")},
		{"as Docker, an entrypoint that is a list", true, likewise(`,"Entrypoint":["[\"/bin/touch\",\"/\\u0046ORBIDDEN\"]"]`, "")},
		{"as Docker, a health check without a keyword", true, likewise(`,"Healthcheck":{"Test":["touch /FORBIDDEN"]}`, "")},
		{"as Docker, a mount with a comma", true, likewise("", `,"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/e,src=/etc"}]`)},
		{"as Docker, a mount of nothing", true, likewise("", `,"Mounts":[{"Type":"bind","Target":"/etc"}]`)},
		{"as Docker, a volume that is a bind", true, likewise(`,"Volumes":{"/etc:/e":{}}`, "")},
		{"as Docker, a relative bind", true, likewise("", `,"Binds":["../../../../../../etc:/e"]`)},
		{"as Docker, host's pids by their path", true, likewise("", fmt.Sprintf(`,"PidMode":"ns:/proc/%d/ns/pid"`, os.Getpid()))},
		{"as Docker, variable by merging", false, likewise(`,"EnvMerge":["LD_PRELOAD=/FORBIDDEN"]`, "")},
		{"as Docker, bind", true, likewise("", `,"Binds":["/etc:/e"]`)},
		{"as Docker, restart of what was made", true, func(c *cell) {
			id := c.beside("create", podman.Image, "/bin/touch", "/FORBIDDEN")
			fmt.Fprintf(&c.answers, `"Id":"%s"`, id)
			c.post("/containers/"+id+"/restart?t=0", "")
		}},
	}
}

// TestPodmanBypass makes every attempt on Podman itself and by way of the door, as
// TestBypass does.
func TestPodmanBypass(t *testing.T) {
	s := podman.Shared(t)
	d := behind(t, s, strict, func(o *door.Options, _ *guard.Options) {
		o.Real = func(path string) string { real, _ := filepath.EvalSymlinks(path); return real }
	})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/etc", link); err != nil {
		t.Fatal(err)
	}
	if _, err := testbed.Output(s.CLI(t.Context(), "", "volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/etc", "pod-volume")); err != nil {
		t.Fatal(err)
	}
	var pairs []grounds[*cell]
	for range 4 {
		pairs = append(pairs, grounds[*cell]{newCell(t, s, s.Socket, link), newCell(t, s, d.socket, link)})
	}
	onBothSides(t, "Podman", dodges(), pairs)
}

var cells int

// newCell makes a container for attempts on a socket.
func newCell(t *testing.T, s *podman.Service, socket, link string) *cell {
	t.Helper()
	cells++
	name := fmt.Sprintf("cell%d", cells)
	id := s.RunT(t, "-i", "--name", name, "--health-cmd", "touch /tmp/FORBIDDEN", "--health-interval", "disable", podman.Image, "/bin/sh")
	return &cell{
		arena: arena{socket: socket, container: id, name: name, link: link, pid: s.HostPIDT(t, id)}, s: s, file: filepath.Join(t.TempDir(), "FORBIDDEN"),
	}
}
