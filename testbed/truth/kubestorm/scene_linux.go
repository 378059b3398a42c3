package kubestorm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/truth"
)

// sayArgv is the one argument list of the storm: people, API clients, runtime
// clients, probes and hooks all run exactly this.
var sayArgv = []string{"/bin/actor", "say", "/truth/s"}

// group may enter containers.
const group = "storm"

// rights are what the storm's people, and the account of the pod "tool", may do.
const rights = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: storm}
rules:
- {apiGroups: [""], resources: [pods, pods/exec, pods/attach, pods/portforward, pods/ephemeralcontainers, nodes, nodes/proxy], verbs: ["*"]}
- {apiGroups: [apps, batch], resources: ["*"], verbs: ["*"]}
- {apiGroups: [""], resources: [users, groups], verbs: [impersonate]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: storm}
subjects:
- {kind: Group, name: storm}
- {kind: Group, name: "system:serviceaccounts"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: storm}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: storm-lookers}
subjects: [{kind: Group, name: lookers}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
`

// web is where everybody goes. What "app" runs by itself is what people run in
// it, as in "side", where the kubelet runs nothing.
const web = `terminationGracePeriodSeconds: 0
containers:
- name: app
  image: sallyport.test/box:1
  volumeMounts: [{name: app, mountPath: /truth}]
  livenessProbe: &probe {exec: {command: ["/bin/actor", "say", "/truth/s"]}, periodSeconds: 4, timeoutSeconds: 60, failureThreshold: 10}
  readinessProbe: *probe
  lifecycle: {postStart: {exec: {command: ["/bin/actor", "say", "/truth/s"]}}}
- name: side
  image: sallyport.test/box:1
  volumeMounts: [{name: side, mountPath: /truth}]
volumes:
- {name: app, hostPath: {path: "DIR/app"}}
- {name: side, hostPath: {path: "DIR/side"}}
- {name: own, hostPath: {path: "DIR/own"}}
`

// tool is a pod whose account may enter others, with kubectl in it.
const tool = `terminationGracePeriodSeconds: 0
containers:
- name: app
  image: sallyport.test/box:1
  volumeMounts: [{name: truth, mountPath: /truth}, {name: programs, mountPath: /programs}]
volumes:
- {name: truth, hostPath: {path: "DIR/tool"}}
- {name: programs, hostPath: {path: "PROGRAMS"}}
`

// scene is the stage of one storm.
type scene struct {
	cluster *kube.Cluster
	node    *kube.Node
	mode    truth.Mode
	ns      string
	dir     string
	ear     *ear
	web     kube.Pod
	tool    kube.Pod
	sidePID int
	people  []*person
	outside *person
	stolen  client // with the token of tool
	runtime runtimeClient
	self    truth.Person

	mu     sync.Mutex
	serial int
	deeds  []truth.Deed
	static []string // files of static pods
	own    map[string]int
}

// person is somebody with a certificate.
type person struct {
	kube.User
	api, kubelet client
}

func (p *person) is() truth.Person { return truth.Person{User: p.Name} }

// newScene makes the stage: the pods, the people, the ears.
func newScene(ctx context.Context, c *kube.Cluster, mode truth.Mode, people int, hold time.Duration) (*scene, error) {
	dir, err := os.MkdirTemp(c.Dir, "truth-")
	if err != nil {
		return nil, err
	}
	s := &scene{
		cluster: c, node: c.Nodes[0], mode: mode, ns: strings.ToLower(filepath.Base(dir)), dir: dir,
		ear: &ear{hold: hold}, own: make(map[string]int), self: self(),
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	for _, sub := range []string{"app", "side", "tool", "own"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
		if err := s.ear.listen(filepath.Join(dir, sub, "s")); err != nil {
			return nil, err
		}
	}
	return s, errors.Join(s.invite(people), s.build(ctx))
}

// invite makes the people.
func (s *scene) invite(people int) (err error) {
	for i := range people {
		p, err := s.person("user"+strconv.Itoa(i+1), group)
		if err != nil {
			return err
		}
		s.people = append(s.people, p)
	}
	s.outside, err = s.person("outsider")
	return err
}

func (s *scene) person(name string, groups ...string) (*person, error) {
	u, err := s.cluster.User(name, groups...)
	if err != nil {
		return nil, err
	}
	config, err := s.cluster.TLS(u)
	if err != nil {
		return nil, err
	}
	at := func(server string) client { return client{server: server, tls: config, dial: s.cluster.Dial} }
	return &person{u, at(s.cluster.Server), at(s.kubelet())}, nil
}

func (s *scene) kubelet() string {
	return "https://" + s.node.Address + ":" + strconv.Itoa(kube.KubeletPort)
}

// build makes the pods.
func (s *scene) build(ctx context.Context) (err error) {
	if err := errors.Join(s.cluster.Apply(ctx, rights), s.cluster.Namespace(ctx, s.ns)); err != nil {
		return err
	}
	fill := strings.NewReplacer("DIR", s.dir, "PROGRAMS", s.cluster.Programs)
	if s.web, err = s.cluster.RunPod(ctx, s.ns, "web", fill.Replace(web)); err != nil {
		return err
	}
	if s.tool, err = s.cluster.RunPod(ctx, s.ns, "tool", fill.Replace(tool)); err != nil {
		return err
	}
	if s.sidePID, err = s.node.PID(ctx, s.web.Containers["side"]); err != nil {
		return err
	}
	if s.runtime, err = dialRuntime(s.node.Socket); err != nil {
		return err
	}
	return s.steal()
}

// steal takes the token out of the pod tool.
func (s *scene) steal() error {
	files, err := filepath.Glob(filepath.Join(s.node.KubeletDir, "pods", s.tool.UID, "volumes", "kubernetes.io~projected", "*", "token"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("token of pod tool: %v, %w", files, err)
	}
	token, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	config, err := s.cluster.TLS(kube.User{})
	if err != nil {
		return err
	}
	s.stolen = client{server: s.cluster.Server, tls: config, dial: s.cluster.Dial}.with("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}

// self is this process, for what it does on the node itself.
func self() truth.Person {
	p := truth.Person{UID: uint32(os.Geteuid()), PIDs: []uint32{uint32(os.Getpid())}}
	b, err := os.ReadFile("/proc/self/loginuid")
	if n, parseErr := strconv.ParseUint(string(b), 10, 32); err == nil && parseErr == nil && n != 1<<32-1 {
		uid := uint32(n)
		p.Login = &uid
	}
	return p
}

// next returns a number that was not used before.
func (s *scene) next() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return s.serial
}

func (s *scene) note(d truth.Deed) {
	d.End = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deeds = append(s.deeds, d)
}

var tokens = regexp.MustCompile(`t[0-9]+\.`)

// noteSaid notes a deed by the token in what its command printed.
func (s *scene) noteSaid(d truth.Deed, out string, err error) error {
	d.Nonce = tokens.FindString(out)
	if err == nil && d.Nonce == "" {
		err = fmt.Errorf("it prints %q", out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.Door, err)
	}
	s.note(d)
	return nil
}

// socket makes a socket for one command alone and returns its name.
func (s *scene) socket() (name string, err error) {
	name = "n" + strconv.Itoa(s.next())
	return name, s.ear.listen(filepath.Join(s.dir, "own", name))
}

// awaitSaid waits until a command came to a socket of its own.
func (s *scene) awaitSaid(ctx context.Context, d truth.Deed, name string) error {
	path := filepath.Join(s.dir, "own", name)
	for s.ear.count(path) == 0 {
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("%s: its command does not come: %w", d.Door, ctx.Err())
		}
	}
	d.Nonce = path
	s.note(d)
	return nil
}

// close ends the pods and returns what truly happened. A command that was done
// but never came, or one that nobody did, is an error: the ground must be solid
// before anything is judged by it.
func (s *scene) close(ctx context.Context) ([]truth.Deed, error) {
	var errs []error
	for _, f := range s.static {
		errs = append(errs, os.Remove(f))
	}
	for _, path := range []string{"/apis/apps/v1/namespaces/" + s.ns + "/deployments", "/apis/batch/v1/namespaces/" + s.ns + "/jobs",
		"/apis/batch/v1/namespaces/" + s.ns + "/cronjobs", "/api/v1/namespaces/" + s.ns + "/pods"} {
		_, err := s.people[0].api.do(ctx, "DELETE", path+"?gracePeriodSeconds=0&propagationPolicy=Background", "", "")
		errs = append(errs, err)
	}
	all, err := s.ear.close()
	deeds, joinErr := s.join(all)
	return deeds, errors.Join(append(errs, s.runtime.close(), err, joinErr)...)
}

// join gives the deeds their processes. What came to the socket of "app" and was
// not asked for is the kubelet's: first the hook, for probes wait for its end.
func (s *scene) join(all []heard) ([]truth.Deed, error) {
	var errs []error
	by := make(map[string]heard)
	for _, h := range all {
		by[h.token] = h
		if _, again := by[h.socket]; !again {
			by[h.socket] = h
		}
	}
	deeds := slices.Clone(s.deeds)
	mine := make(map[string]bool)
	for i := range deeds {
		d := &deeds[i]
		h, ok := by[d.Nonce]
		switch {
		case d.Nonce == "":
			continue
		case !ok || mine[h.token]:
			errs = append(errs, fmt.Errorf("%s, %s: done, but it never came, or twice", d.Door, d.Nonce))
		}
		mine[h.token] = true
		if d.Name == "" {
			d.Process = h.process
		}
	}
	door := Hook
	for _, h := range all {
		switch {
		case mine[h.token] || filepath.Dir(h.socket) == filepath.Join(s.dir, "own"):
		case h.socket != filepath.Join(s.dir, "app", "s"):
			errs = append(errs, fmt.Errorf("%s: process %s came to %s, and nobody asked for it", h.token, h.process, h.socket))
		default:
			deeds = append(deeds, truth.Deed{
				Nonce: h.token, Door: door, Container: s.container("app"), Process: h.process, Start: h.at, End: h.at,
			})
			door = Probe
		}
	}
	return deeds, errors.Join(errs...)
}

func (s *scene) container(name string) event.ContainerID {
	return event.ContainerID(s.web.Containers[name])
}

// watched are the containers in which every session is a deed.
func (s *scene) watched() []event.ContainerID {
	return []event.ContainerID{s.container("app"), s.container("side"), event.ContainerID(s.tool.Containers["app"])}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
