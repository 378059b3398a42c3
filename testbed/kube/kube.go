//go:build linux

// Package kube starts a private Kubernetes cluster: etcd, API server,
// controllers and scheduler of the release that testbed/kube/build names, with
// one or more nodes, each a kubelet and Debian's containerd or CRI-O, and images
// that were made without a registry.
//
// The cluster lives in network namespaces of its own that have no way out;
// fixed addresses in them cannot clash. The rest of it lives under one
// run-unique directory and in cgroups of that name. Stop removes all of it;
// what a killed program left behind is removed by the next Start of anybody.
//
// The core (Start, Cluster) returns errors and serves programs as well as
// tests; Main, Shared, New and the methods that end in T are for tests.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/testbed/daemon"
	"github.com/sallyport/sallyport/testbed/kube/release"
)

// Options tunes a cluster; the zero value is good.
type Options struct {
	// AuditPolicy is the text of the audit policy, "" for DefaultAuditPolicy.
	AuditPolicy string
	// AuditWebhook is the path of a kubeconfig that says where audit events go
	// besides the log, "" for nowhere. Its server is an address in Expose.
	AuditWebhook string
	// AuditBatchWait is how long audit events may wait for others before they
	// go to the webhook; 0 is a second.
	AuditBatchWait time.Duration
	// APIServer are further flags of kube-apiserver.
	APIServer []string
	// Expose are TCP addresses of this machine, "127.0.0.1:9443", that the
	// cluster reaches under the same address; see Cluster.Expose.
	Expose []string
	// Nodes are the nodes; none means one of the zero value.
	Nodes []NodeOptions
	// Logger hears about clean-up that did not go well; nil is silent.
	Logger *slog.Logger
}

// DefaultAuditPolicy records every way into a container, with what was asked
// for, and who asked a kubelet directly: that shows in access reviews alone.
const DefaultAuditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: RequestResponse
  resources:
  - group: ""
    resources: [pods/exec, pods/attach, pods/portforward, pods/ephemeralcontainers, pods/proxy, nodes/proxy]
- level: Request
  resources:
  - {group: authorization.k8s.io, resources: [subjectaccessreviews]}
- level: Metadata
  verbs: [create, delete, deletecollection, patch, update]
  resources:
  - {group: "", resources: [pods, secrets, serviceaccounts, serviceaccounts/token]}
  - {group: rbac.authorization.k8s.io}
- level: None
`

// Cluster is a running private cluster. Its methods may be called from several
// goroutines, except the restarts and Stop, which may not overlap anything.
type Cluster struct {
	Dir      string // everything of this cluster is under it
	Programs string // directory of kubectl and the other programs
	CA       string // path of the certificate of the only authority
	Server   string // URL of the API server, inside the cluster's network
	Audit    string // path of the audit log, one JSON event a line
	Admin    User   // of system:masters
	Nodes    []*Node

	opts      Options
	authority *authority
	net       *network
	daemons   map[string]*daemon.Daemon // of the control plane, by program
}

// Start starts a cluster and returns when its nodes are ready and pods can be
// made. ctx bounds the start only. It fails with release.ErrNotBuilt where the
// programs are not in the cache.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if len(opts.Nodes) == 0 {
		opts.Nodes = make([]NodeOptions, 1)
	}
	programs, err := release.Find(ctx)
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	daemon.Sweep(opts.Logger)
	dir, err := daemon.NewDir("kube")
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c := &Cluster{
		Dir:      dir,
		Programs: programs,
		CA:       filepath.Join(dir, "pki", "ca.crt"),
		Server:   "https://" + serviceAddress + ":443",
		Audit:    filepath.Join(dir, "audit.log"),
		opts:     opts,
		daemons:  make(map[string]*daemon.Daemon),
	}
	if err := c.boot(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Stop())
	}
	return c, nil
}

// boot brings everything up, side by side what does not depend on each other.
func (c *Cluster) boot(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	all, each := errgroup.WithContext(ctx)
	all.Go(func() error { return c.bootControl(each) })
	images := make(chan struct{})
	all.Go(func() error {
		defer close(images)
		return c.buildImages(each)
	})
	for _, n := range c.Nodes {
		all.Go(func() error {
			err := n.bootRuntime(each)
			<-images
			return errors.Join(err, n.importImages(each))
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return c.bootNodes(ctx)
}

// bootNodes starts the kubelets and returns when pods can be made.
func (c *Cluster) bootNodes(ctx context.Context) error {
	all, each := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		all.Go(func() error { return n.bootKubelet(each) })
	}
	all.Go(func() error { return c.awaitAccount(each, "default") })
	return all.Wait()
}

// prepare makes what the programs find when they start.
func (c *Cluster) prepare() (err error) {
	for _, sub := range []string{"pki", "users", "kubectl"} {
		if err := os.Mkdir(filepath.Join(c.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := daemon.KeepSysctls(c.Dir, kubeletSysctls...); err != nil {
		return err
	}
	if c.net, err = newNetwork(filepath.Join(c.Dir, "net")); err != nil {
		return err
	}
	if err := c.net.control(); err != nil {
		return err
	}
	for i, o := range c.opts.Nodes {
		n, err := newNode(c, i+1, o)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, n)
	}
	for _, addr := range c.opts.Expose {
		if err := c.Expose(addr); err != nil {
			return err
		}
	}
	return c.issue()
}

// Stop ends the cluster and removes all of it: pods, shims, mounts, cgroups,
// namespaces, files. It works whatever state the cluster is in.
func (c *Cluster) Stop() error {
	// Nothing of the cluster is worth an orderly end, and a kubelet that stops
	// in order leaves its pods running: Clean kills.
	if c.net != nil {
		c.net.stopForwarding()
	}
	err := daemon.Clean(c.Dir)
	for _, n := range c.Nodes {
		if n.net != c.net {
			n.net.close()
		}
	}
	if c.net != nil {
		c.net.close()
	}
	if err != nil {
		return fmt.Errorf("stop cluster: %w", err)
	}
	return nil
}
