package kubestorm

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/truth"
)

// act does one command by one door, for p where the door knows people, and
// notes it.
type act func(ctx context.Context, s *scene, p *person) error

// acts are the doors, one by one, and how often they are used: by each person
// times a round, or by one person in every of them.
var acts = []struct {
	times, every int
	do           act
	modes        []truth.Mode // none is all
	beside       bool         // in the second part of the storm; see play
	containerd   bool         // not with CRI-O
}{
	{times: 3, do: execWS},
	{every: 4, do: execMoment},
	{every: 4, do: execForged},
	{every: 4, do: execKilled},
	{every: 4, do: execAs},
	{every: 4, do: kubectlExec(KubectlWS)},
	{every: 4, do: kubectlExec(KubectlSPDY, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false")},
	{every: 16, do: kubectlAs},
	{every: 16, do: script},
	{every: 16, do: deputy},
	{every: 8, do: stolen},
	{every: 16, do: copyIn},
	{every: 16, do: copyOut},
	{every: 8, do: denied},
	{every: 16, do: deniedCLI},
	{every: 8, do: attach},
	{every: 16, do: forward},
	{every: 16, do: ephemeral},
	{every: 32, do: debugPod},
	{every: 32, do: debugNode, containerd: true}, // CRI-O gives / only where it is a shared mount
	{every: 16, do: pod},
	{every: 32, do: deployment},
	{every: 32, do: job},
	{every: 32, do: cronJob},
	{every: 32, do: staticPod},
	{every: 4, do: proxyRun},
	{every: 16, do: proxyExec, containerd: true}, // CRI-O tells of no execs: it may have led to any that fits
	{every: 4, do: kubeletRun, beside: true},
	{every: 4, do: kubeletExec, beside: true},
	{every: 4, do: anyoneRun, modes: []truth.Mode{Open}, beside: true},
	{every: 4, do: anyoneExec, modes: []truth.Mode{Open}, beside: true},
	{every: 4, do: criSync, beside: true},
	{every: 8, do: criExec, beside: true},
	{times: 1, do: execBeside, beside: true},
	{every: 8, do: ctr, beside: true, containerd: true},
	{every: 8, do: nsenter, beside: true},
}

func (s *scene) begin(door truth.Door, container string, by ...truth.Person) truth.Deed {
	return truth.Deed{Door: door, Container: s.container(container), By: by, Start: time.Now()}
}

// pick takes the containers in turn.
func (s *scene) pick() string {
	if s.next()%2 == 0 {
		return "app"
	}
	return "side"
}

func (s *scene) path(pod, what string) string {
	return "/api/v1/namespaces/" + s.ns + "/pods/" + pod + what
}

// execPath is a request for argv in a container of a pod.
func (s *scene) execPath(pod, container string, argv ...string) string {
	q := url.Values{"command": argv, "container": {container}, "stdout": {"true"}, "stderr": {"true"}}
	return s.path(pod, "/exec?"+q.Encode())
}

func (s *scene) exec(ctx context.Context, door truth.Door, c client, by truth.Person) error {
	container := s.pick()
	d := s.begin(door, container, by)
	out, err := c.run(ctx, s.execPath("web", container, sayArgv...), streamV5)
	return s.noteSaid(d, out, err)
}

func execWS(ctx context.Context, s *scene, p *person) error {
	return s.exec(ctx, ExecWS, p.api, p.is())
}

// execBeside is the same while others go round the API server: the two cannot be
// told apart for certain.
func execBeside(ctx context.Context, s *scene, p *person) error {
	return s.exec(ctx, ExecBeside, p.api, p.is())
}

// execMoment is two people who press the key at once.
func execMoment(ctx context.Context, s *scene, p *person) error {
	other := s.people[(slices.Index(s.people, p)+1)%len(s.people)]
	done := make(chan error)
	go func() { done <- s.exec(ctx, ExecMoment, other.api, other.is()) }()
	err := s.exec(ctx, ExecMoment, p.api, p.is())
	return errors.Join(err, <-done)
}

// execForged uses an audit id that others use too.
func execForged(ctx context.Context, s *scene, p *person) error {
	return s.exec(ctx, ExecForged, p.api.with("Audit-ID", "00000000-0000-4000-8000-000000000001"), p.is())
}

// execKilled leaves while the command runs.
func execKilled(ctx context.Context, s *scene, p *person) error {
	container := s.pick()
	d := s.begin(ExecKilled, container, p.is())
	ws, err := p.api.stream(ctx, s.execPath("web", container, sayArgv...), streamV5)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Door, err)
	}
	out, err := listen(ws, tokens.MatchString)
	return errors.Join(s.noteSaid(d, out, err), ws.Close())
}

func execAs(ctx context.Context, s *scene, p *person) error {
	c := p.api.with("Impersonate-User", "ghost", "Impersonate-Group", group)
	return s.exec(ctx, ExecAs, c, truth.Person{User: "ghost", Impersonator: p.Name})
}

func stolen(ctx context.Context, s *scene, _ *person) error {
	return s.exec(ctx, Stolen, s.stolen, s.account())
}

// account is the service account of the pods.
func (s *scene) account() truth.Person {
	return truth.Person{User: "system:serviceaccount:" + s.ns + ":default"}
}

// kubectl runs kubectl exec as p and returns what it prints.
func (s *scene) kubectl(ctx context.Context, p *person, env []string, args ...string) (string, error) {
	cmd := s.cluster.Kubectl(ctx, p.User, append([]string{"-n", s.ns}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	return testbed.Output(cmd)
}

func kubectlExec(door truth.Door, env ...string) act {
	return func(ctx context.Context, s *scene, p *person) error {
		container := s.pick()
		d := s.begin(door, container, p.is())
		out, err := s.kubectl(ctx, p, env, append([]string{"exec", "web", "-c", container, "--"}, sayArgv...)...)
		return s.noteSaid(d, out, err)
	}
}

func kubectlAs(ctx context.Context, s *scene, p *person) error {
	container := s.pick()
	d := s.begin(KubectlAs, container, truth.Person{User: "ghost", Impersonator: p.Name})
	args := append([]string{"--as=ghost", "--as-group=" + group, "exec", "web", "-c", container, "--"}, sayArgv...)
	out, err := s.kubectl(ctx, p, nil, args...)
	return s.noteSaid(d, out, err)
}

// script runs a program that the kernel gives to an interpreter, so that what
// runs is not what was asked for.
func script(ctx context.Context, s *scene, p *person) error {
	file := filepath.Join(s.dir, "side", "script")
	if _, err := os.Stat(file); err != nil {
		if err := os.WriteFile(file, []byte("#!/bin/sh\nexec /bin/actor say /truth/s\n"), 0o755); err != nil {
			return err
		}
	}
	d := s.begin(Script, "side", p.is())
	out, err := s.kubectl(ctx, p, nil, "exec", "web", "-c", "side", "--", "/truth/script", "now")
	return s.noteSaid(d, out, err)
}

// deputy enters a pod and from there, by the pod's own account, another.
func deputy(ctx context.Context, s *scene, p *person) error {
	outer := truth.Deed{
		Door: ExecWS, Container: event.ContainerID(s.tool.Containers["app"]), By: []truth.Person{p.is()}, Start: time.Now(),
	}
	inner := s.begin(Deputy, "side", s.account())
	script := "/bin/actor say /truth/s; exec /programs/kubectl exec -n " + s.ns + " web -c side -- " + strings.Join(sayArgv, " ")
	out, err := p.api.run(ctx, s.execPath("tool", "app", "/bin/sh", "-c", script), streamV5)
	said := tokens.FindAllString(out, -1)
	if err != nil || len(said) != 2 {
		return fmt.Errorf("%s: %q, %w", Deputy, out, err)
	}
	return errors.Join(s.noteSaid(outer, said[0], nil), s.noteSaid(inner, said[1], nil))
}

func copyIn(ctx context.Context, s *scene, p *person) error {
	name := "c" + strconv.Itoa(s.next())
	d := s.begin(CopyIn, "side", p.is())
	d.Path = "/truth/" + name
	if err := os.Mkdir(filepath.Join(s.dir, "side", name), 0o777); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, p, nil, "cp", s.cluster.CA, "web:"+d.Path, "-c", "side"); err != nil {
		return fmt.Errorf("%s: %w", CopyIn, err)
	}
	s.note(d)
	return nil
}

func copyOut(ctx context.Context, s *scene, p *person) error {
	name := "f" + strconv.Itoa(s.next())
	d := s.begin(CopyOut, "side", p.is())
	d.Path = "/truth/" + name
	if err := os.WriteFile(filepath.Join(s.dir, "side", name), []byte("hello\n"), 0o644); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, p, nil, "cp", "web:"+d.Path, filepath.Join(s.dir, name), "-c", "side"); err != nil {
		return fmt.Errorf("%s: %w", CopyOut, err)
	}
	s.note(d)
	return nil
}

// auditID is one that nobody else uses: the key of requests without a process.
func (s *scene) auditID(d *truth.Deed) (header, value string) {
	d.AuditID = event.AuditID(fmt.Sprintf("%s-%d", s.ns, s.next()))
	return "Audit-ID", string(d.AuditID)
}

func denied(ctx context.Context, s *scene, _ *person) error {
	d := s.begin(Denied, "side", s.outside.is())
	c := s.outside.api.with(s.auditID(&d))
	if out, err := c.run(ctx, s.execPath("web", "side", sayArgv...), streamV5); err == nil {
		return fmt.Errorf("%s: it prints %q", Denied, out)
	}
	s.note(d)
	return nil
}

// loner is somebody who does one thing.
func (s *scene) loner(groups ...string) (*person, error) {
	return s.person(fmt.Sprintf("%s-loner%d", s.ns, s.next()), groups...)
}

func deniedCLI(ctx context.Context, s *scene, _ *person) error {
	p, err := s.loner("lookers") // kubectl asks for the pod first
	if err != nil {
		return err
	}
	d := s.begin(DeniedCLI, "side", p.is())
	d.User = p.Name
	if out, err := s.kubectl(ctx, p, nil, append([]string{"exec", "web", "-c", "side", "--"}, sayArgv...)...); err == nil {
		return fmt.Errorf("%s: it prints %q", DeniedCLI, out)
	}
	s.note(d)
	return nil
}

func attach(ctx context.Context, s *scene, p *person) error {
	d := s.begin(Attach, "side", p.is())
	ws, err := p.api.with(s.auditID(&d)).stream(ctx, s.path("web", "/attach?container=side&stdout=true"), streamV5)
	if err != nil {
		return fmt.Errorf("%s: %w", Attach, err)
	}
	pause(ctx, 200*time.Millisecond)
	s.note(d)
	return ws.Close()
}

func forward(ctx context.Context, s *scene, _ *person) error {
	p, err := s.loner(group)
	if err != nil {
		return err
	}
	d := s.begin(Forward, "", p.is())
	d.User = p.Name
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := s.cluster.Kubectl(ctx, p.User, "-n", s.ns, "port-forward", "pod/web", ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", Forward, err)
	}
	n, err := out.Read(make([]byte, 1)) // it says so when it forwards
	cancel()
	cmd.Wait() // killed
	if n == 0 {
		return fmt.Errorf("%s: it says nothing: %w", Forward, err)
	}
	s.note(d)
	return nil
}

func proxyRun(ctx context.Context, s *scene, p *person) error {
	d := s.begin(ProxyRun, "side", p.is())
	out, err := p.api.do(ctx, "POST", "/api/v1/nodes/"+s.node.Name+"/proxy"+s.runPath("side"), "", "")
	return s.noteSaid(d, out, err)
}

func (s *scene) runPath(container string) string {
	return "/run/" + s.ns + "/web/" + container + "?cmd=" + url.QueryEscape(strings.Join(sayArgv, " "))
}

func (s *scene) kubeletPath(container string) string {
	return "/exec/" + s.ns + "/web/" + container + "?" + url.Values{"command": sayArgv, "output": {"1"}}.Encode()
}

// proxyExec fails: the API server loses the query on its way (testbed.md §4.10).
func proxyExec(ctx context.Context, s *scene, p *person) error {
	d := s.begin(ProxyExec, "side", p.is())
	c := p.api.with(s.auditID(&d))
	if out, err := c.run(ctx, "/api/v1/nodes/"+s.node.Name+"/proxy"+s.kubeletPath("side"), streamV4); err == nil && tokens.MatchString(out) {
		return fmt.Errorf("%s: it prints %q", ProxyExec, out)
	}
	s.note(d)
	return nil
}

func kubeletRun(ctx context.Context, s *scene, p *person) error {
	return s.run(ctx, KubeletRun, p.kubelet, p.is())
}

func kubeletExec(ctx context.Context, s *scene, p *person) error {
	return s.stream(ctx, KubeletExec, p.kubelet, p.is())
}

var anonymous = truth.Person{User: "system:anonymous"}

func anyoneRun(ctx context.Context, s *scene, _ *person) error {
	c, err := s.anyone()
	if err != nil {
		return err
	}
	return s.run(ctx, AnyoneRun, c, anonymous)
}

func anyoneExec(ctx context.Context, s *scene, _ *person) error {
	c, err := s.anyone()
	if err != nil {
		return err
	}
	return s.stream(ctx, AnyoneExec, c, anonymous)
}

func (s *scene) anyone() (client, error) {
	config, err := s.cluster.TLS(kube.User{})
	return client{server: s.kubelet(), tls: config, dial: s.cluster.Dial}, err
}

// run asks the kubelet alone; whoever names this process is right too.
func (s *scene) run(ctx context.Context, door truth.Door, c client, by truth.Person) error {
	container := s.pick()
	d := s.begin(door, container, by, s.self)
	out, err := c.do(ctx, "POST", s.runPath(container), "", "")
	return s.noteSaid(d, out, err)
}

func (s *scene) stream(ctx context.Context, door truth.Door, c client, by truth.Person) error {
	container := s.pick()
	d := s.begin(door, container, by, s.self)
	out, err := c.run(ctx, s.kubeletPath(container), streamV4)
	return s.noteSaid(d, out, err)
}

func criSync(ctx context.Context, s *scene, _ *person) error {
	container := s.pick()
	d := s.begin(CRISync, container, s.self)
	out, err := s.runtime.execSync(ctx, s.web.Containers[container], sayArgv)
	return s.noteSaid(d, out, err)
}

func criExec(ctx context.Context, s *scene, _ *person) error {
	container := s.pick()
	d := s.begin(CRIExec, container, s.self)
	at, err := s.runtime.exec(ctx, s.web.Containers[container], sayArgv)
	if err != nil {
		return fmt.Errorf("%s: %w", CRIExec, err)
	}
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	out, err := client{server: "http://" + u.Host, dial: s.cluster.Dial}.run(ctx, u.RequestURI(), streamV4)
	return s.noteSaid(d, out, err)
}

func ctr(ctx context.Context, s *scene, _ *person) error {
	container := s.pick()
	d := s.begin(Ctr, container)
	args := append([]string{"task", "exec", "--exec-id", "ctr-" + strconv.Itoa(s.next()), s.web.Containers[container]}, sayArgv...)
	return s.host(d, s.node.Ctr(ctx, args...))
}

func nsenter(ctx context.Context, s *scene, _ *person) error {
	d := s.begin(Nsenter, "side")
	args := append([]string{"-t", strconv.Itoa(s.sidePID), "-m", "-p", "--"}, sayArgv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = testbed.Environ()
	return s.host(d, cmd)
}

// host does what a program of this machine does.
func (s *scene) host(d truth.Deed, cmd *exec.Cmd) error {
	out, err := testbed.Output(cmd)
	by := s.self
	by.PIDs = nil
	if d.Door == Ctr && cmd.Process != nil {
		by.PIDs = []uint32{uint32(cmd.Process.Pid)}
	}
	d.By = []truth.Person{by}
	return s.noteSaid(d, out, err)
}
