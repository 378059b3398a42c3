package docker

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
	bed "github.com/sallyport/sallyport/testbed/docker"
)

// tap parses what passes a wiretap, each piece as the kernel would sample it.
type tap struct {
	mu      sync.Mutex
	parser  *Requests
	sample  int
	offsets map[[2]int]uint64
	got     []event.Observation
}

func (p *tap) seen(conn int, sent bool, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]int{conn, 0}
	if sent {
		key[1] = 1
	}
	p.got = append(p.got, p.parser.Segment(event.Segment{
		Head: event.Header{Time: time.Now(), Witness: event.WitnessKernel}, Conn: event.ConnID(conn + 1), Service: event.ServiceDocker,
		Sent: sent, Offset: p.offsets[key], Whole: true, Length: uint32(len(data)), Data: data[:min(len(data), p.sample)],
	})...)
	p.offsets[key] += uint64(len(data))
}

// lines returns what was understood since the last call.
func (p *tap) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, o := range p.got {
		l := line(o)
		out = append(out, l[strings.IndexByte(l, ' ')+1:]) // without its number
	}
	p.got = nil
	return out
}

// Real clients, each with an exec of its own, in front of a real daemon.
func TestRequestsOfClients(t *testing.T) {
	e := bed.Shared(t)
	id := e.RunT(t, "--name", "clients", bed.Image)
	p := &tap{parser: NewRequests(RequestOptions{}), sample: 2048, offsets: map[[2]int]uint64{}}
	w := newWiretap(t, e.Socket, p.seen)
	cli := func(args ...string) *exec.Cmd {
		return e.CLI(t.Context(), append([]string{"-H", "unix://" + w.path}, args...)...)
	}
	odd := "a  \"b\"\n\x1b[31m"
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
		want []string // X stands for the exec's id
	}{{
		"docker exec", func(t *testing.T) { output(t, cli("exec", "clients", "/bin/busybox", "true", odd)) },
		[]string{`exec_create ref=clients argv=["/bin/busybox" "true" "a  \"b\"\n\x1b[31m"]`, "exec_create -> 201 X", "exec_start exec=X", "exec_start -> 101"},
	}, {
		"docker exec -i with input that looks like a request", func(t *testing.T) {
			cmd := cli("exec", "-i", "-u", "7", "clients", "/bin/cat")
			cmd.Stdin = strings.NewReader("POST /v1.41/containers/clients/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{\"Cmd\":[\"evil\"]}")
			output(t, cmd)
		},
		[]string{`exec_create ref=clients user=7 argv=["/bin/cat"] stdin`, "exec_create -> 201 X", "exec_start exec=X", "exec_start -> 101"},
	}, {
		"docker exec -d", func(t *testing.T) { output(t, cli("exec", "-d", id[:7], "/bin/busybox", "true")) },
		[]string{`exec_create ref=` + id[:7] + ` argv=["/bin/busybox" "true"]`, "exec_create -> 201 X", "exec_start exec=X detach", "exec_start -> 200"},
	}, {
		"docker cp in", func(t *testing.T) { output(t, cli("cp", large(t), "clients:/tmp/large")) },
		[]string{"copy_in ref=clients path=/tmp", "copy_in -> 200"},
	}, {
		"docker cp out", func(t *testing.T) { output(t, cli("cp", "clients:/bin/busybox", t.TempDir())) },
		[]string{"copy_out ref=clients path=/bin/busybox", "copy_out -> 200"},
	}, {
		"curl", func(t *testing.T) { curl(t, w.path) },
		[]string{`exec_create ref=clients argv=["/bin/busybox" "true"]`, "exec_create -> 201 X", "exec_start exec=X", "exec_start -> 200"},
	}, {
		"Go client", func(t *testing.T) { goClient(t, w.path) },
		[]string{
			`exec_create ref=clients argv=["/bin/busybox" "true"] tty`, "exec_create -> 201 X", "exec_start exec=X tty", "exec_start -> 101",
			`exec_create ref=clients argv=["/bin/busybox" "true"]`, "exec_create -> 201 X", "exec_start exec=X detach", "exec_start -> 200",
		},
	}, {
		"docker run", func(t *testing.T) {
			output(t, cli("run", "--rm", "--name", "clients2", "--entrypoint", "/bin/echo", bed.Image, "hi"))
		},
		[]string{
			`container_create ref=clients2 argv=["/bin/echo" "hi"]`, "container_create -> 201 X",
			"attach ref=X", "attach -> 101", "other", "container_start ref=X", "container_start -> 204", "other -> 200",
		},
	}} {
		t.Run(c.name, func(t *testing.T) {
			p.lines()
			c.run(t)
			// The copy's body is chunked and not sampled whole: where reads
			// and chunks fall decides whether its end is known.
			got := slices.DeleteFunc(anonymous(p.lines()), func(l string) bool { return l == "other uncertain" })
			if c.name == "docker run" { // on several connections at once
				slices.Sort(got)
				slices.Sort(c.want)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if s := p.parser.Stats(); s.Lost > 1 || s.Uncertain > 1 || s.Cut != 0 { // at most by docker cp
		t.Errorf("stats: %+v", s)
	}
}

// large returns a file that does not fit into what is sampled of a request.
func large(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(name, bytes.Repeat([]byte("not a request\n"), 1<<15), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// anonymous puts X for the ids of 64 hex digits.
func anonymous(lines []string) []string {
	for i, l := range lines {
		words := strings.Split(l, " ")
		for j, w := range words {
			at := strings.IndexByte(w, '=') + 1
			if len(w)-at == 64 {
				words[j] = w[:at] + "X"
			}
		}
		lines[i] = strings.Join(words, " ")
	}
	return lines
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := bed.Output(cmd)
	if err != nil {
		t.Error(err)
	}
	return out
}

// curl runs one exec on one connection, the second request over keep-alive.
func curl(t *testing.T, socket string) {
	t.Helper()
	path, err := testbed.LookPath("curl")
	if err != nil {
		t.Skip(err)
	}
	base := []string{"-sS", "--max-time", "20", "--unix-socket", socket, "-H", "Content-Type: application/json"}
	out := output(t, exec.Command(path, append(base, "-d", `{"Cmd":["/bin/busybox","true"],"AttachStdout":true}`, "http://d/containers/clients/exec")...))
	id := createdID([]byte(out))
	output(t, exec.Command(path, append(base, "-o", "/dev/null", "-d", `{}`, "http://d/v1.40/exec/"+id+"/start")...))
}

// goClient runs two execs with the current client library.
func goClient(t *testing.T, socket string) {
	t.Helper()
	c, err := client.New(client.WithHost("unix://" + socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, detach := range []bool{false, true} {
		x, err := c.ExecCreate(ctx, "clients", client.ExecCreateOptions{Cmd: []string{"/bin/busybox", "true"}, TTY: !detach})
		if err != nil {
			t.Fatal(err)
		}
		if detach {
			_, err = c.ExecStart(ctx, x.ID, client.ExecStartOptions{Detach: true})
		} else {
			var a client.ExecAttachResult
			if a, err = c.ExecAttach(ctx, x.ID, client.ExecAttachOptions{TTY: true}); err == nil {
				a.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A handler that answers errors keeps the connection; what follows on it are
// requests.
func TestRequestsKeepAlive(t *testing.T) {
	e := bed.Shared(t)
	p := &tap{parser: NewRequests(RequestOptions{}), sample: 512, offsets: map[[2]int]uint64{}}
	w := newWiretap(t, e.Socket, p.seen)
	c, err := client.New(client.WithHost("unix://"+w.path), client.WithAPIVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := e.RunT(t, bed.Image)
	for range 3 {
		for _, ask := range []func() error{
			func() error {
				_, err := c.ContainerList(t.Context(), client.ContainerListOptions{All: true})
				return err
			},
			func() error { _, err := c.Info(t.Context(), client.InfoOptions{}); return err },
			func() error { _, err := c.ImageList(t.Context(), client.ImageListOptions{}); return err },
			func() error {
				_, err := c.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
				return err
			},
		} {
			if err := ask(); err != nil {
				t.Error(err)
			}
		}
		if _, err := c.ExecStart(t.Context(), "nosuch", client.ExecStartOptions{}); err == nil {
			t.Error("exec start: want an error")
		}
	}
	if _, err := c.ExecCreate(t.Context(), id, client.ExecCreateOptions{Cmd: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"exec_start exec=nosuch", "exec_start -> 404", "exec_start exec=nosuch", "exec_start -> 404",
		"exec_start exec=nosuch", "exec_start -> 404", `exec_create ref=X argv=["x"]`, "exec_create -> 201 X",
	}
	if diff := cmp.Diff(want, anonymous(p.lines())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s := p.parser.Stats(); s.Lost != 0 || s.Uncertain != 0 {
		t.Errorf("stats: %+v", s)
	}
}
