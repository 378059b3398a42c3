package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/cputime"
	"github.com/sallyport/sallyport/testbed/docker"
)

// guards measures what `sallyport guard docker` adds to what clients of Docker do,
// beside Debian's HAProxy as people put it before the socket, in the same rounds
// as without either.
func (b *bench) guards(ctx context.Context) (rows []row, err error) {
	dir := filepath.Join(b.engine.Dir, "guard")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	g := &guardBench{bench: b, dir: dir}
	defer func() { err = errors.Join(err, g.stop()) }()
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	for _, part := range []func(context.Context) ([]row, error){g.calls, g.execs, g.keys, g.bytes, g.idle, g.decisions} {
		got, err := part(ctx)
		rows = append(rows, got...)
		if err != nil {
			return rows, err
		}
	}
	if g.haproxy == nil {
		rows = append(rows, row{Name: "guard: HAProxy", OK: true, Note: "not measured: install it with apt-get install haproxy"})
	}
	return rows, nil
}

// guardBench is what stands around an engine while its guard is measured.
type guardBench struct {
	*bench
	dir  string
	echo string // a container that says what it is told
	text string // one with a long text

	direct, plain, taped door
	haproxy              *door // nil where there is none
	stops                []func() error
}

// start starts the containers, and a guard that allows what is measured, one that
// records it too, and HAProxy.
func (g *guardBench) start(ctx context.Context) (err error) {
	if g.echo, err = g.engine.Run(ctx, "-i", docker.Image, "cat"); err != nil {
		return err
	}
	listed := filepath.Join(g.dir, "listing")
	if err := os.WriteFile(listed, listing(16<<20), 0o600); err != nil {
		return err
	}
	if g.text, err = g.engine.Run(ctx, "-v", listed+":/listing:ro", docker.Image); err != nil {
		return err
	}
	g.direct = door{name: "direct", socket: g.engine.Socket}
	if g.plain, err = g.guard("guard", g.engine.Socket, false); err != nil {
		return err
	}
	if g.taped, err = g.guard("recording guard", g.engine.Socket, true); err != nil {
		return err
	}
	g.haproxy, err = g.proxy("haproxy", g.engine.Socket)
	return err
}

// doors are the ways to the daemon, the direct one first.
func (g *guardBench) doors(others ...*door) []door {
	all := []door{g.direct}
	for _, d := range others {
		if d != nil {
			all = append(all, *d)
		}
	}
	return all
}

// series is what was measured at a door, a value for each round: medians in
// microseconds, and the CPU time of the process in between for each.
type series struct{ p50, cpu []float64 }

// timed does something n times a round at each door, the doors in turn. What prepare
// returns first is done, what it returns second ends it.
func (g *guardBench) timed(doors []door, n int, prepare func(door) (func() error, func(), error)) (map[string]*series, error) {
	out := map[string]*series{}
	for _, d := range doors {
		out[d.name] = &series{}
	}
	for round := range g.rounds {
		for i := range doors {
			d := doors[(i+round)%len(doors)]
			once, done, err := prepare(d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.name, err)
			}
			took := make([]float64, n)
			before := d.cpu()
			for i := 0; i < n && err == nil; i++ {
				began := time.Now()
				err = once()
				took[i] = float64(time.Since(began)) / float64(time.Microsecond)
			}
			used := d.cpu() - before
			done()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.name, err)
			}
			s := out[d.name]
			s.p50, s.cpu = append(s.p50, median(took)), append(s.cpu, float64(used)/float64(time.Microsecond)/float64(n))
		}
	}
	return out, nil
}

// over makes rows of what each door adds to the direct way; most bounds what a
// guard may add, in microseconds, 0 for no target.
func (g *guardBench) over(what string, doors []door, got map[string]*series, most float64) (rows []row) {
	direct := got[g.direct.name]
	for _, d := range doors[1:] {
		s := got[d.name]
		r := compare(fmt.Sprintf("%s: %s", d.name, what), "us", s.p50, direct.p50, 0)
		added := make([]float64, len(s.p50))
		for i := range added {
			added[i] = s.p50[i] - direct.p50[i]
		}
		r.Note = fmt.Sprintf("+ %.0f us; %.0f us of its CPU time", median(added), median(s.cpu))
		if most > 0 && d.name != "haproxy" {
			r.Target, r.OK = fmt.Sprintf("+ <= %.0f us", most), median(added) <= most
		}
		rows = append(rows, r)
	}
	return rows
}

// calls are questions that are answered at once, on one connection and on one each.
func (g *guardBench) calls(context.Context) (rows []row, err error) {
	doors := g.doors(&g.plain, g.haproxy)
	for _, what := range []struct {
		name, head string
		n          int
	}{{"GET /_ping", "GET /_ping", 1000}, {"inspect", "GET /containers/" + g.echo + "/json", 200}} {
		got, err := g.timed(doors, what.n/g.scale, func(d door) (func() error, func(), error) {
			c, err := dial(d.socket)
			if err != nil {
				return nil, nil, err
			}
			return func() error { _, err := c.ask(what.head, ""); return err }, c.close, nil
		})
		if err != nil {
			return rows, err
		}
		rows = append(rows, g.over(what.name+", kept connection", doors, got, 150)...)
	}
	got, err := g.timed(doors, 500/g.scale, func(d door) (func() error, func(), error) {
		return func() error {
			c, err := dial(d.socket)
			if err != nil {
				return err
			}
			defer c.close()
			_, err = c.ask("GET /_ping", "")
			return err
		}, func() {}, nil
	})
	if err != nil {
		return rows, err
	}
	return append(rows, g.over("GET /_ping, new connection", doors, got, 0)...), nil
}

// execs are commands that do nothing: created, started, waited for.
func (g *guardBench) execs(context.Context) ([]row, error) {
	doors := g.doors(&g.plain, &g.taped, g.haproxy)
	got, err := g.timed(doors, max(20/g.scale, 2), func(d door) (func() error, func(), error) {
		return func() error { return runTrue(d.socket, g.echo) }, func() {}, nil
	})
	if err != nil {
		return nil, err
	}
	return g.over("exec of true: create, start, wait", doors, got, 0), nil
}

// keys are bytes that come back: by docker exec, and by attach, which alone comes
// through HAProxy: it drops the Upgrade of a POST with a body.
func (g *guardBench) keys(context.Context) (rows []row, err error) {
	for _, how := range []struct {
		name  string
		doors []door
		open  func(door) (*conn, error)
	}{
		{"keystroke in docker exec", g.doors(&g.plain, &g.taped), func(d door) (*conn, error) { return startExec(d.socket, g.echo, "cat") }},
		{"keystroke in docker attach", g.doors(&g.plain, g.haproxy), func(d door) (*conn, error) { return attach(d.socket, g.echo) }},
	} {
		got, err := g.timed(how.doors, 500/g.scale, func(d door) (func() error, func(), error) {
			c, err := how.open(d)
			if err != nil {
				return nil, nil, err
			}
			key := make([]byte, 9) // the daemon's frame
			once := func() error {
				if _, err := c.Write(key[8:]); err != nil {
					return err
				}
				_, err := io.ReadFull(c.r, key)
				return err
			}
			return once, c.close, once() // what is started late is not measured
		})
		if err != nil {
			return rows, fmt.Errorf("%s: %w", how.name, err)
		}
		rows = append(rows, g.over(how.name, how.doors, got, 100)...)
	}
	return rows, nil
}

// bytes measures a stream of text out of a container: CPU time of the process in
// between per byte.
func (g *guardBench) bytes(context.Context) (rows []row, err error) {
	doors := g.doors(&g.plain, &g.taped, g.haproxy)
	times := max(16/g.scale, 1)
	argv := append([]string{"cat"}, strings.Fields(strings.Repeat("/listing ", times))...)
	cpu, rate := map[string][]float64{}, map[string][]float64{}
	for round := range g.rounds {
		for i := range doors {
			d := doors[(i+round)%len(doors)]
			c, err := startExec(d.socket, g.text, argv...)
			if err != nil {
				return rows, fmt.Errorf("%s: %w", d.name, err)
			}
			before, began := d.cpu(), time.Now()
			n, err := io.Copy(io.Discard, c.r)
			used, took := d.cpu()-before, time.Since(began)
			c.close()
			if err != nil || n < int64(times)*16<<20 {
				return rows, fmt.Errorf("%s: %d bytes came: %w", d.name, n, err)
			}
			cpu[d.name] = append(cpu[d.name], float64(used)/float64(n))
			rate[d.name] = append(rate[d.name], float64(n)/took.Seconds()/1e6)
		}
	}
	note := func(d door) string {
		return fmt.Sprintf("%.0f MB/s, directly %.0f", median(rate[d.name]), median(rate[g.direct.name]))
	}
	for _, d := range doors[1:] {
		rows = append(rows, row{Name: d.name + ": stream, CPU per byte", Value: median(cpu[d.name]), Unit: "ns", OK: true, Note: note(d)})
	}
	added := make([]float64, g.rounds)
	for i := range added {
		added[i] = cpu[g.taped.name][i] - cpu[g.plain.name][i]
	}
	return append(rows, atMost("guard: what recording adds per byte", median(added), "ns", 1)), nil
}

// decisions measures what rules cost a request, of which half have to be asked.
func (g *guardBench) decisions(context.Context) (rows []row, err error) {
	s := session.Session{
		Kind: session.KindExec, Channel: event.ChannelDockerExec, Argv: []string{"/bin/cat", "/etc/hosts"}, ArgvSource: "request",
		Actor:  session.Actor{Kind: session.ActorUnix, User: "ann"},
		Target: session.Target{ContainerName: "web", Image: "registry/web:1", Labels: map[string]string{"env": "test"}},
	}
	for _, n := range []int{1, 50, 200} {
		var text bytes.Buffer
		text.WriteString("version: 1\ndefault: deny\nrules:\n  - {id: last, effect: allow, when: 'session.kind == \"exec\" && session.actor.user == \"ann\"'}\n")
		for i := 1; i < n; i++ {
			when := []string{
				`session.kind == "exec" && session.target.labels["env"] == "prod-%d" && basename(session.argv[0]) in ["sh", "bash"]`,
				`session.channel in ["DK-EXEC", "DK-RUN"] && session.target.image.startsWith("registry-%d/")`,
				`session.channel == "DK-ARCHIVE" && session.path.startsWith("/srv/%d/")`,
				`session.kind == "start" && session.target.host_access.paths.exists(p, p == "/srv/%d")`,
			}[i%4]
			fmt.Fprintf(&text, "  - {id: r%d, effect: deny, severity: high, when: %q}\n", i, fmt.Sprintf(when, i))
		}
		set, err := policy.Load([]policy.File{{Name: "made-up.yaml", Data: text.Bytes()}})
		if err != nil {
			return rows, err
		}
		times := max(20_000/g.scale, 100)
		began := cputime.Total()
		for range times {
			set.Decide(&s)
		}
		each := float64(cputime.Total()-began) / float64(time.Microsecond) / float64(times)
		rows = append(rows, atMost(fmt.Sprintf("guard: CPU of a decision by %d rules", n), each, "us", 50))
	}
	return rows, nil
}

// conn is a client's connection to the API.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func (c *conn) close() { _ = c.Close() }

func dial(socket string) (*conn, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	return &conn{c, bufio.NewReaderSize(c, 32<<10)}, nil
}

// send sends a request with a body of JSON, if there is one, and reads the head of
// the answer.
func (c *conn) send(head, body string, fields ...string) (*http.Response, error) {
	text := head + " HTTP/1.1\r\nHost: docker\r\n"
	if body != "" {
		text += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	for _, f := range fields {
		text += f + "\r\n"
	}
	if _, err := io.WriteString(c, text+"\r\n"+body); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.r, nil)
}

// ask returns the body of an answer that says that it went well.
func (c *conn) ask(head, body string) ([]byte, error) {
	res, err := c.send(head, body)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %s", head, res.Status, b)
	}
	return b, err
}

// upgraded makes a stream of a connection. An answer without an upgrade is good
// enough where nothing is to be sent: HAProxy has no other.
func (c *conn) upgraded(head, body string) (*conn, error) {
	res, err := c.send(head, body, "Connection: Upgrade", "Upgrade: tcp")
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols && res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(res.Body)
		err = fmt.Errorf("%s: %s: %s", head, res.Status, said)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// startExec runs a command in a container and returns its streams. They are
// created on a connection of their own, as Docker's client may do it.
func startExec(socket, container string, argv ...string) (*conn, error) {
	c, err := dial(socket)
	if err != nil {
		return nil, err
	}
	id, err := c.createExec(container, argv...)
	if err != nil {
		c.close()
		return nil, err
	}
	return c.upgraded("POST /exec/"+id+"/start", `{"Detach":false,"Tty":false}`)
}

func (c *conn) createExec(container string, argv ...string) (id string, err error) {
	body, err := json.Marshal(map[string]any{"Cmd": argv, "AttachStdin": true, "AttachStdout": true, "AttachStderr": true})
	if err != nil {
		return "", err
	}
	answer, err := c.ask("POST /containers/"+container+"/exec", string(body))
	if err != nil {
		return "", err
	}
	var made struct{ ID string }
	err = json.Unmarshal(answer, &made)
	return made.ID, err
}

// attach joins the streams of a container.
func attach(socket, container string) (*conn, error) {
	c, err := dial(socket)
	if err != nil {
		return nil, err
	}
	return c.upgraded("POST /containers/"+container+"/attach?stream=1&stdin=1&stdout=1", "")
}

// runTrue runs true in a container and sees how it ended.
func runTrue(socket, container string) error {
	c, err := dial(socket)
	if err != nil {
		return err
	}
	defer c.close()
	id, err := c.createExec(container, "/bin/busybox", "true")
	if err != nil {
		return err
	}
	s, err := dial(socket)
	if err != nil {
		return err
	}
	if s, err = s.upgraded("POST /exec/"+id+"/start", `{"Detach":false,"Tty":false}`); err != nil {
		return err
	}
	defer s.close()
	if _, err := io.Copy(io.Discard, s.r); err != nil {
		return err
	}
	answer, err := c.ask("GET /exec/"+id+"/json", "")
	if err != nil {
		return err
	}
	var x struct {
		Running  bool
		ExitCode *int
	}
	if err := json.Unmarshal(answer, &x); err != nil || x.Running || x.ExitCode == nil || *x.ExitCode != 0 {
		return fmt.Errorf("true ended with %s: %w", answer, err)
	}
	return nil
}
