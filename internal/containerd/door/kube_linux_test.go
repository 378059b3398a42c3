package door_test

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/containerd/door"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

const kubeRules = `
version: 1
default: deny
rules:
  - {id: never, when: '"never" in session.argv', effect: deny, severity: high, message: "{{.Command}} in {{.Target}}: never"}
  - {id: pods, when: 'session.channel == "RT-CRI" && session.kind == "start"', effect: allow}
  - {id: execs, when: 'session.channel == "RT-CRI" && session.kind == "exec" && session.target.container_name == "main"', effect: allow}
`

// TestKubernetes: what a kubelet has its runtime begin passes the door, too: pods, execs
// and probes.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Kube)
	d := &doors{dir: t.TempDir()}
	d.build(t)
	judge := d.guard(t, kubeRules)
	serve(t, d.at(), door.New(door.Options{Judge: judge, Peer: kernel.SocketPeer}).Serve)
	c := kube.New(t, kube.Options{Nodes: []kube.NodeOptions{{OCIRuntime: d.script(t)}}})
	ns := c.NamespaceT(t)
	c.RunPodT(t, ns, "web", `terminationGracePeriodSeconds: 0
containers:
- name: main
  image: sallyport.test/box:1
  imagePullPolicy: Never
  readinessProbe: {exec: {command: [/bin/busybox, "true"]}, periodSeconds: 1}
- name: side
  image: sallyport.test/box:1
  imagePullPolicy: Never
`)
	kubectl := func(args ...string) *exec.Cmd {
		return c.Kubectl(t.Context(), c.Admin, append([]string{"-n", ns, "exec", "web"}, args...)...)
	}
	runs(t, kubectl("-c", "main", "--", "/bin/echo", "hello"), "hello")
	refused(t, kubectl("-c", "main", "--", "/bin/echo", "never"), "sallyport: denied by rule never: /bin/echo never in")
	refused(t, kubectl("-c", "side", "--", "/bin/echo", "hello"), "sallyport: denied by default")
	has := func(argv string, kind session.Kind, container string, stopped bool) bool {
		return slices.ContainsFunc(d.since(0), func(r guard.Record) bool {
			s := &r.Request
			return s.Argv[len(s.Argv)-1] == argv && s.Kind == kind && s.Channel == event.ChannelRuntimeCRI && r.Stopped == stopped &&
				s.Target.Pod == "web" && s.Target.Namespace == ns && s.Target.ContainerName == container
		})
	}
	if !has("hello", session.KindExec, "main", false) || !has("hello", session.KindExec, "side", true) || !has("true", session.KindExec, "main", false) {
		t.Errorf("%+v", d.since(0))
	}
}
