//go:build linux

package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/crio"
	"github.com/sallyport/sallyport/testbed/daemon"
)

// NodeOptions tunes a node; the zero value is good, and its kubelet is as well
// guarded as a kubelet can be.
type NodeOptions struct {
	// Anonymous lets anybody talk to the kubelet who can reach it.
	Anonymous bool
	// Authorization is the kubelet's authorization mode: "" is Webhook, which
	// asks the API server; AlwaysAllow does not.
	Authorization string
	// Verbosity is that of the kubelet's log; 0 is 2, from 3 on it names every
	// request to the kubelet.
	Verbosity int
	// Runtime is the unix socket that the kubelet takes for containerd's, for a
	// proxy in between; "" is containerd's.
	Runtime string
	// OCIRuntime is the program that containerd runs for its containers; "" is runc.
	OCIRuntime string
	// CRIO has the kubelet use CRI-O (testbed/crio) and not containerd.
	CRIO bool
	// Kubelet are further flags of the kubelet.
	Kubelet []string
}

// KubeletPort is where every kubelet serves.
const KubeletPort = 10250

// ContainerdNamespace is where the kubelet's containers are in containerd.
const ContainerdNamespace = "k8s.io"

// Node is a node of a cluster: a kubelet and a container runtime.
type Node struct {
	Name       string // "node1"
	Address    string // in the cluster's network
	Dir        string // everything of this node is under it
	Socket     string // path of the runtime's socket
	KubeletDir string // the kubelet's root directory
	KubeletLog string
	StaticPods string // directory of pods that the kubelet starts by itself
	PodLogs    string // directory of the containers' logs

	index      int
	opts       NodeOptions
	cluster    *Cluster
	net        *network
	kubelet    *daemon.Daemon
	containerd *daemon.Daemon
	crio       *crio.Runtime // nil where containerd runs
}

// newNode makes what the programs of the node find when they start. The first
// node lives with the control plane.
func newNode(c *Cluster, index int, opts NodeOptions) (*Node, error) {
	name := "node" + strconv.Itoa(index)
	dir := c.path(name)
	n := &Node{
		Name: name, Address: hostAddress(index), Dir: dir,
		Socket:     filepath.Join(dir, "containerd.sock"),
		KubeletDir: filepath.Join(dir, "kubelet.d"),
		KubeletLog: filepath.Join(dir, "kubelet.log"),
		StaticPods: filepath.Join(dir, "static"),
		PodLogs:    filepath.Join(dir, "logs"),
		index:      index, opts: opts, cluster: c, net: c.net,
	}
	for _, d := range []string{dir, n.StaticPods, filepath.Join(dir, "cni")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	if index > 1 {
		var err error
		if n.net, err = newNetwork(filepath.Join(dir, "net")); err != nil {
			return nil, err
		}
		if err := n.net.join(c.net, index); err != nil {
			return nil, fmt.Errorf("join %s: %w", name, err)
		}
	}
	return n, daemon.MakeCgroup(n.cgroup())
}

// cgroup is the parent of all pods' cgroups.
func (n *Node) cgroup() string { return filepath.Join(filepath.Base(n.cluster.Dir), n.Name) }

// Kubelet is the running kubelet, to freeze it or ask its pid.
func (n *Node) Kubelet() *daemon.Daemon { return n.kubelet }

// Ctr returns ctr with args, for the node's containerd and ContainerdNamespace.
func (n *Node) Ctr(ctx context.Context, args ...string) *exec.Cmd {
	path, err := testbed.LookPath("ctr")
	if err != nil {
		path = "ctr" // the capability kube has it
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"-a", n.Socket, "-n", ContainerdNamespace}, args...)...)
	cmd.Env = testbed.Environ()
	return cmd
}

// CRIO reports whether the node's runtime is CRI-O.
func (n *Node) CRIO() bool { return n.crio != nil }

// PID returns the host pid of a container's first process.
func (n *Node) PID(ctx context.Context, container string) (int, error) {
	if n.crio != nil {
		return n.crio.PID(container)
	}
	out, err := testbed.Output(n.Ctr(ctx, "task", "ls"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == container {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("container %s has no task: %s", container, out)
}

// RestartKubelet stops the kubelet in order, changes the options and starts it
// again; pods keep running. change may be nil.
func (n *Node) RestartKubelet(ctx context.Context, change func(*NodeOptions)) error {
	if err := n.kubelet.Halt(ctx); err != nil {
		return fmt.Errorf("restart kubelet of %s: %w", n.Name, err)
	}
	if change != nil {
		change(&n.opts)
	}
	if err := n.bootKubelet(ctx); err != nil {
		return fmt.Errorf("restart kubelet of %s: %w", n.Name, err)
	}
	return nil
}

// RestartContainerd stops containerd in order and starts it again; pods keep
// running.
func (n *Node) RestartContainerd(ctx context.Context) error {
	if err := n.containerd.Halt(ctx); err != nil {
		return fmt.Errorf("restart containerd of %s: %w", n.Name, err)
	}
	if err := n.bootContainerd(ctx); err != nil {
		return fmt.Errorf("restart containerd of %s: %w", n.Name, err)
	}
	return nil
}

// bootRuntime starts the container runtime.
func (n *Node) bootRuntime(ctx context.Context) (err error) {
	if err := os.WriteFile(filepath.Join(n.Dir, "cni", "10-pods.conflist"), n.podNetwork(), 0o644); err != nil {
		return err
	}
	if !n.opts.CRIO {
		return n.bootContainerd(ctx)
	}
	n.crio, err = crio.Boot(ctx, crio.Place{Dir: n.Dir, Network: filepath.Join(n.Dir, "cni"), Start: n.net.start})
	if err == nil {
		n.Socket = n.crio.Socket
	}
	return err
}

func (n *Node) bootContainerd(ctx context.Context) (err error) {
	config := filepath.Join(n.Dir, "containerd.toml")
	if err := os.WriteFile(config, n.containerdConfig(), 0o644); err != nil {
		return err
	}
	if n.containerd, err = n.net.start("containerd", filepath.Join(n.Dir, "containerd.log"), "--config", config); err != nil {
		return err
	}
	return n.containerd.Ready(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return n.Ctr(ctx, "version").Run()
	})
}

func (n *Node) bootKubelet(ctx context.Context) (err error) {
	config := filepath.Join(n.Dir, "kubelet.yaml")
	if err := os.WriteFile(config, n.kubeletConfig(), 0o644); err != nil {
		return err
	}
	flags := append([]string{
		"--config=" + config, "--kubeconfig=" + n.cluster.userFile("system:node:"+n.Name),
		"--root-dir=" + n.KubeletDir, "--cert-dir=" + filepath.Join(n.Dir, "pki"),
		"--hostname-override=" + n.Name, "--node-ip=" + n.Address, "--v=" + strconv.Itoa(cmp.Or(n.opts.Verbosity, 2)),
	}, n.opts.Kubelet...)
	started := time.Now().Truncate(time.Second) // Kubernetes' times have no fractions
	n.kubelet, err = n.net.start(filepath.Join(n.cluster.Programs, "kubelet"), n.KubeletLog, flags...)
	if err != nil {
		return err
	}
	return n.kubelet.Ready(ctx, func(ctx context.Context) error { return n.ready(ctx, started) })
}

// ready asks whether the node takes pods, and whether a kubelet that started
// then has said so.
func (n *Node) ready(ctx context.Context, started time.Time) error {
	b, err := n.cluster.Get(ctx, "/api/v1/nodes/"+n.Name)
	if err != nil {
		return err
	}
	var node struct {
		Spec   struct{ Taints []struct{ Key string } }
		Status struct {
			Conditions []struct {
				Type, Status      string
				LastHeartbeatTime time.Time
			}
		}
	}
	if err := json.Unmarshal(b, &node); err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" && !c.LastHeartbeatTime.Before(started) && len(node.Spec.Taints) == 0 {
			return nil
		}
	}
	return fmt.Errorf("node %s is not ready: %+v", n.Name, node)
}
