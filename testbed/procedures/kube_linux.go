package procedures

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

// Namespace is where the procedures are played on a cluster.
const Namespace = "shop"

// rights are what the administrator may do; and, as it must not be, what the
// pods' account and the nodes may: without that neither Peirates nor Siloscape
// gets anywhere.
const rights = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operators}
rules: [{apiGroups: [""], resources: [pods, pods/exec], verbs: [get, list, create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operators}
subjects: [{kind: Group, name: operators}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operators}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: too-much}
rules:
- {apiGroups: [""], resources: [pods, pods/exec, nodes/proxy], verbs: ["*"]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: too-much}
subjects: [{kind: ServiceAccount, name: default, namespace: shop}, {kind: Group, name: "system:nodes"}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: too-much}
`

// pods are what there is: three that are gone into, the neighbours, and the two
// that stand-ins run in. Those wait for a file.
var pods = map[string]string{
	"web":       victim("app", "side"),
	"db":        victim("app"),
	"cache":     victim("app"),
	"neighbour": neighbour, "neighbour-2": neighbour, "neighbour-3": neighbour,
	"foothold": waiting(Peirates, `[/usr/bin/standin, peirates, "$SERVER", "$KUBELET", shop, $NODE, "$DIR/root"]`),
	"escaped":  waiting(Siloscape, `[/bin/sh, -c, "/programs/kubectl auth can-i create deployments --kubeconfig=$CONFIG && /programs/kubectl --kubeconfig=$CONFIG create deployment extra -n shop --image=sallyport.test/box:1"]`),
}

// neighbour is a pod with a probe.
const neighbour = `terminationGracePeriodSeconds: 0
containers:
- name: app
  image: sallyport.test/box:1
  env: [{name: PATH, value: "/usr/bin:/bin"}]
  volumeMounts: [{name: bin, mountPath: /usr/bin}]
  livenessProbe: {exec: {command: ["/bin/busybox", "true"]}, periodSeconds: 3}
volumes: [{name: bin, hostPath: {path: "$DIR/programs/bin"}}]`

// victim is a pod that stands about, with a container of each name.
func victim(containers ...string) string {
	spec := "terminationGracePeriodSeconds: 0\ncontainers:\n"
	for _, name := range containers {
		spec += `- name: ` + name + `
  image: sallyport.test/box:1
  env: [{name: PATH, value: "/usr/bin:/bin"}]
  volumeMounts: [{name: bin, mountPath: /usr/bin}]
`
	}
	return spec + `volumes: [{name: bin, hostPath: {path: "$DIR/programs/bin"}}]`
}

// waiting is a pod that waits for a file, and then runs argv once. It can read
// the credentials of its node, as what got out of its container can.
func waiting(file, argv string) string {
	return `terminationGracePeriodSeconds: 0
restartPolicy: Never
containers:
- name: app
  image: sallyport.test/box:1
  env: [{name: KUBECACHEDIR, value: /tmp}]
  command: [/bin/actor, await, /trigger/` + file + `, exec, ` + strings.TrimPrefix(argv, "[") + `
  volumeMounts:
  - {name: bin, mountPath: /usr/bin}
  - {name: trigger, mountPath: /trigger}
  - {name: programs, mountPath: /programs}
  - {name: users, mountPath: "$CLUSTER/users"}
  - {name: pki, mountPath: "$CLUSTER/pki"}
volumes:
- {name: bin, hostPath: {path: "$DIR/programs/bin"}}
- {name: trigger, hostPath: {path: "$DIR/trigger"}}
- {name: programs, hostPath: {path: "$PROGRAMS"}}
- {name: users, hostPath: {path: "$CLUSTER/users"}}
- {name: pki, hostPath: {path: "$CLUSTER/pki"}}`
}

// Kube is a cluster whose kubelet is open to anybody, and whose service accounts
// and nodes may do more than they should.
type Kube struct {
	Cluster *kube.Cluster

	dir, standin string
	alice        kube.User
	source       *server
}

// StartKube starts the cluster and what the procedures find there.
func StartKube(ctx context.Context, dir string) (_ *Kube, err error) {
	k := &Kube{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Stop())
		}
	}()
	if k.standin, err = build(ctx, filepath.Join(dir, "programs")); err != nil {
		return nil, err
	}
	for _, sub := range []string{"trigger", "root/etc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	k.Cluster, err = kube.Start(ctx, kube.Options{
		AuditPolicy: string(audit.MinimalPolicy), Nodes: []kube.NodeOptions{{Anonymous: true, Authorization: "AlwaysAllow"}},
	})
	if err != nil {
		return nil, err
	}
	if k.alice, err = k.Cluster.User("alice", "operators"); err != nil {
		return nil, err
	}
	source := k.Cluster.Command(context.WithoutCancel(ctx), k.standin, "serve", k.address(8080))
	if k.source, err = serve(source); err != nil {
		return nil, err
	}
	if err := errors.Join(k.Cluster.Namespace(ctx, Namespace), k.Cluster.Apply(ctx, rights)); err != nil {
		return nil, err
	}
	return k, k.runPods(ctx)
}

func (k *Kube) node() *kube.Node { return k.Cluster.Nodes[0] }

// address is one of the node's.
func (k *Kube) address(port int) string { return k.node().Address + ":" + strconv.Itoa(port) }

func (k *Kube) runPods(ctx context.Context) error {
	c := k.Cluster
	node, err := c.User("system:node:"+k.node().Name, "system:nodes") // what the kubelet has, again
	if err != nil {
		return err
	}
	fill := strings.NewReplacer(
		"$DIR", k.dir, "$CLUSTER", c.Dir, "$PROGRAMS", c.Programs, "$CONFIG", node.Kubeconfig, "$NODE", k.node().Name,
		"$SERVER", c.Server, "$KUBELET", "https://"+k.address(kube.KubeletPort),
	)
	g, ctx := errgroup.WithContext(ctx)
	for name, spec := range pods {
		g.Go(func() error {
			_, err := c.RunPod(ctx, Namespace, name, fill.Replace(spec))
			return err
		})
	}
	return g.Wait()
}

// Acts returns the procedures that can be played here, each with its neighbours.
func (k *Kube) Acts() []Act {
	return []Act{
		{Hildegard, func(ctx context.Context) error {
			client := k.Cluster.Command(ctx, k.standin, "hildegard", "https://"+k.address(kube.KubeletPort), Namespace, "http://"+k.address(8080))
			return errors.Join(k.neighbours(ctx), run(client))
		}},
		{Peirates, func(ctx context.Context) error {
			return errors.Join(k.neighbours(ctx), k.trigger(ctx, Peirates, "foothold"))
		}},
		{Siloscape, func(ctx context.Context) error {
			return errors.Join(k.neighbours(ctx), k.trigger(ctx, Siloscape, "escaped"))
		}},
	}
}

// trigger lets a waiting pod go on, and waits for its end.
func (k *Kube) trigger(ctx context.Context, file, pod string) error {
	if err := os.WriteFile(filepath.Join(k.dir, "trigger", file), nil, 0o644); err != nil {
		return err
	}
	return await(ctx, "what pod "+pod+" does", func() error {
		b, err := k.Cluster.Get(ctx, "/api/v1/namespaces/"+Namespace+"/pods/"+pod)
		if err != nil {
			return err
		}
		var p struct{ Status struct{ Phase string } }
		if err := json.Unmarshal(b, &p); err != nil || p.Status.Phase == "Succeeded" {
			return err
		}
		if p.Status.Phase == "Failed" {
			time.Sleep(time.Second)
		}
		return fmt.Errorf("it is %s: %s", p.Status.Phase, k.logs(pod))
	})
}

// logs is what the containers of a pod printed.
func (k *Kube) logs(pod string) string {
	files, _ := filepath.Glob(filepath.Join(k.node().PodLogs, Namespace+"_"+pod+"_*", "*", "*.log"))
	var out strings.Builder
	for _, f := range files {
		b, _ := os.ReadFile(f)
		out.Write(b[max(0, len(b)-2000):])
	}
	return out.String()
}

// neighbours is an administrator who looks after a pod, which has a probe.
func (k *Kube) neighbours(ctx context.Context) error {
	exec := func(argv ...string) *exec.Cmd {
		return k.Cluster.Kubectl(ctx, k.alice, append([]string{"exec", "-n", Namespace, "neighbour", "--"}, argv...)...)
	}
	return run(
		exec("/bin/busybox", "id"),
		exec("apt-get", "update"),
		exec("/bin/sh", "-c", "cat /etc/hostname; ls /tmp"),
		k.Cluster.Kubectl(ctx, k.alice, "get", "pods", "-n", Namespace),
	)
}

// Stop ends all of it.
func (k *Kube) Stop() error {
	var err error
	if k.Cluster != nil {
		err = k.Cluster.Stop()
	}
	return errors.Join(err, k.source.stop())
}

// Inside is a command in the cluster's network, as those that watch are.
func (k *Kube) Inside(ctx context.Context) func(name string, args ...string) *exec.Cmd {
	return func(name string, args ...string) *exec.Cmd {
		return k.Cluster.Command(context.WithoutCancel(ctx), name, args...)
	}
}

// Watch is the flags of `up` and `capture` for the cluster.
func (k *Kube) Watch() []string {
	return []string{
		"--docker", filepath.Join(k.Cluster.Dir, "docker.sock"), "--containerd", k.node().Socket,
		"--kubeconfig", k.Cluster.Admin.Kubeconfig, "--audit-log", k.Cluster.Audit,
	}
}

// Canary runs a command in the neighbour, as alice.
func (k *Kube) Canary(ctx context.Context) error {
	_, err := testbed.Output(k.Cluster.Kubectl(ctx, k.alice, "exec", "-n", Namespace, "neighbour", "--", "/bin/busybox", "true"))
	return err
}

// Paths has the paths of this machine that show in what is observed, and what is
// written in their place.
func (k *Kube) Paths() []string {
	c := k.Cluster
	return []string{k.dir, "/srv/standins", c.Programs, "/opt/kubernetes", c.Dir, "/run/cluster", filepath.Base(c.Dir), "cluster"}
}
