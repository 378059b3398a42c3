package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// door is a way to the daemon, and the process that stands in it.
type door struct {
	name, socket string
	pid          int // 0 for none
}

// cpu is the CPU time of the process so far, as the scheduler counts it.
func (d *door) cpu() (sum time.Duration) {
	if d.pid == 0 {
		return 0
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.pid))
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that is gone
		}
		ns, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		sum += time.Duration(n)
	}
	return sum
}

// guardAllows is what both a guard and HAProxy let pass here.
const guardAllows = `version: 1
default: deny
rules:
  - id: bench
    when: session.channel in ["DK-EXEC", "DK-ATTACH"] && session.target.image != "none"
    effect: %s
`

// guard starts sallyport guard docker as an operator would.
func (g *guardBench) guard(name, daemon string, record bool) (door, error) {
	d := door{name: name, socket: filepath.Join(g.dir, strings.ReplaceAll(name, " ", "-")+".sock")}
	base := strings.TrimSuffix(d.socket, ".sock")
	effect := "allow"
	args := []string{
		"guard", "docker", "--enforce", "--rules", base + ".yaml", "--listen", "unix://" + d.socket, "--to", "unix://" + daemon, "--control", "unix://" + base + ".control",
	}
	if record {
		effect = "[allow, record]"
		args = append(args, "--record", base+".state")
	}
	if err := os.WriteFile(base+".yaml", fmt.Appendf(nil, guardAllows, effect), 0o600); err != nil {
		return d, err
	}
	pid, err := g.run(d.socket, exec.Command(g.program, args...))
	d.pid = pid
	return d, err
}

// haproxyConfig lets pass what guardAllows does, with what only reads.
const haproxyConfig = `
global
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  timeout tunnel 10m
frontend docker
  bind unix@%s
  acl reads path,url_dec -m reg ^(/v[\d\.]+)?/(_ping|version|info|containers/json|containers/[a-zA-Z0-9_.-]+/json|exec/[a-zA-Z0-9_.-]+/json)$
  acl acts path,url_dec -m reg ^(/v[\d\.]+)?/(containers/[a-zA-Z0-9_.-]+/(exec|attach)|exec/[a-zA-Z0-9_.-]+/start)$
  http-request deny unless METH_GET reads or METH_POST acts
  default_backend docker
backend docker
  server docker unix@%s
`

// proxy starts Debian's HAProxy before a daemon; nil where there is none.
func (g *guardBench) proxy(name, daemon string) (*door, error) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, nil
	}
	d := &door{name: "haproxy", socket: filepath.Join(g.dir, name+".sock")}
	config := filepath.Join(g.dir, name+".cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, d.socket, daemon), 0o600); err != nil {
		return nil, err
	}
	d.pid, err = g.run(d.socket, exec.Command(path, "-db", "-f", config))
	return d, err
}

// run starts a program and waits until it listens. stop ends it.
func (g *guardBench) run(socket string, cmd *exec.Cmd) (pid int, err error) {
	log, err := os.Create(socket + ".log")
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	g.stops = append(g.stops, func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done: // HAProxy ends with the signal, a guard in order
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		return nil
	})
	for range 400 {
		if c, err := net.Dial("unix", socket); err == nil {
			return cmd.Process.Pid, c.Close()
		}
		time.Sleep(25 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	return 0, fmt.Errorf("%s does not listen: %s", cmd, said)
}

func (g *guardBench) stop() (err error) {
	for i := len(g.stops) - 1; i >= 0; i-- {
		err = errors.Join(err, g.stops[i]())
	}
	return err
}

// idle measures what sessions cost that say nothing. Their other end is a stand-in
// for the daemon, in this process: dockerd itself would need gigabytes for so many.
func (g *guardBench) idle(context.Context) (rows []row, err error) {
	far, err := newFarEnd(filepath.Join(g.dir, "far.sock"))
	if err != nil {
		return nil, err
	}
	defer far.close()
	plain, err := g.guard("idle guard", far.socket, false)
	if err != nil {
		return nil, err
	}
	taped, err := g.guard("idle recording guard", far.socket, true)
	if err != nil {
		return nil, err
	}
	haproxy, err := g.proxy("idle-haproxy", far.socket)
	if err != nil {
		return nil, err
	}
	for _, n := range []int{500, 5000} {
		for _, d := range []*door{&plain, &taped, haproxy} {
			if d == nil {
				continue
			}
			each, all, err := idles(far, d, max(n/g.scale, 10))
			if err != nil {
				return rows, fmt.Errorf("%s: %w", d.name, err)
			}
			r := row{Name: fmt.Sprintf("%s: memory of each of %d idle sessions", strings.TrimPrefix(d.name, "idle "), n), Value: each, Unit: "kB", OK: true, Note: fmt.Sprintf("%.0f MB resident", all)}
			if d != haproxy {
				r.Target, r.OK = "<= 64, <= 512 MB", each <= 64 && all <= 512
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// idles opens sessions and returns kB of anonymous memory that each adds, and MB of
// all that is resident of the process.
func idles(far *farEnd, d *door, n int) (each, all float64, err error) {
	open := func(n int) (cs []*conn, err error) {
		for range n {
			c, err := attach(d.socket, "box")
			if err != nil {
				return cs, err
			}
			cs = append(cs, c)
		}
		return cs, nil
	}
	closeAll := func(cs []*conn) {
		for _, c := range cs {
			c.close()
		}
		far.hangUp()
	}
	warm, err := open(50)
	closeAll(warm)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(time.Second)
	_, before, err := resident(d.pid)
	if err != nil {
		return 0, 0, err
	}
	cs, err := open(n)
	defer closeAll(cs)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(2 * time.Second)
	all, anonymous, err := resident(d.pid)
	return (anonymous - before) * 1024 / float64(n), all, err
}

// farEnd is a daemon with one container, whose streams say nothing.
type farEnd struct {
	socket string
	server http.Server
	mu     sync.Mutex
	open   []net.Conn // guarded by mu
}

func newFarEnd(socket string) (*farEnd, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	f := &farEnd{socket: socket}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/{name}/json", func(w http.ResponseWriter, _ *http.Request) {
		id := strings.Repeat("a", 64)
		fmt.Fprintf(w, `{"Id":%q,"Name":"/box","Image":"sha256:1","Config":{"Image":"box"},"State":{"Running":true,"StartedAt":"2026-01-02T03:04:05Z"}}`, id)
	})
	mux.HandleFunc("POST /containers/{name}/attach", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h, ok := w.(http.Hijacker)
		if !ok {
			return
		}
		c, _, err := h.Hijack()
		if err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		f.mu.Lock()
		f.open = append(f.open, c)
		f.mu.Unlock()
	})
	f.server.Handler = mux
	go func() { _ = f.server.Serve(l) }()
	return f, nil
}

// hangUp ends all streams.
func (f *farEnd) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.open {
		_ = c.Close()
	}
	f.open = nil
}

func (f *farEnd) close() {
	f.hangUp()
	_ = f.server.Close()
}
