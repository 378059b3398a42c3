//go:build linux

package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/testbed/daemon"
)

// bootControl starts the control plane and returns when the API server is ready.
func (c *Cluster) bootControl(ctx context.Context) error {
	if err := c.start("etcd", c.etcdFlags()...); err != nil {
		return err
	}
	if err := c.bootAPIServer(ctx); err != nil {
		return err
	}
	return errors.Join(
		c.start("kube-controller-manager", c.controllerFlags()...),
		c.start("kube-scheduler", "--kubeconfig="+c.userFile("system:kube-scheduler"),
			"--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir="+c.path("scheduler")),
	)
}

// start starts a program of the control plane in the cluster's network.
func (c *Cluster) start(program string, args ...string) (err error) {
	d, err := c.net.start(filepath.Join(c.Programs, program), c.Log(program), args...)
	if err == nil {
		c.daemons[program] = d
	}
	return err
}

// Log is the path of the log of a program of the control plane.
func (c *Cluster) Log(program string) string { return c.path(program + ".log") }

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// APIServer is the running kube-apiserver, to freeze it or ask its pid.
func (c *Cluster) APIServer() *daemon.Daemon { return c.daemons["kube-apiserver"] }

// RestartAPIServer stops kube-apiserver, changes the options and starts it
// again. change may be nil; it cannot change nodes. The server waits up to a
// minute for its clients when it stops in order: it is killed after two
// seconds, which its audit log and data survive.
func (c *Cluster) RestartAPIServer(ctx context.Context, change func(*Options)) error {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c.APIServer().Halt(short)
	if change != nil {
		change(&c.opts)
	}
	if err := c.bootAPIServer(ctx); err != nil {
		return fmt.Errorf("restart API server: %w", err)
	}
	return nil
}

func (c *Cluster) bootAPIServer(ctx context.Context) error {
	policy := cmp.Or(c.opts.AuditPolicy, DefaultAuditPolicy)
	if err := os.WriteFile(c.path("audit-policy.yaml"), []byte(policy), 0o644); err != nil {
		return err
	}
	if err := c.start("kube-apiserver", c.apiServerFlags()...); err != nil {
		return err
	}
	return c.APIServer().Ready(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := c.Get(ctx, "/readyz")
		return err
	})
}

// etcdFlags give up safety for speed: the data ends with the cluster.
func (c *Cluster) etcdFlags() []string {
	return []string{
		"--data-dir=" + c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380",
	}
}

const etcdURL = "http://127.0.0.1:2379"

func (c *Cluster) apiServerFlags() []string {
	pki := func(name string) string { return filepath.Join(c.Dir, "pki", name) }
	flags := []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=" + serviceAddress, "--advertise-address=" + serviceAddress, "--secure-port=443",
		"--service-cluster-ip-range=10.96.0.0/24", "--endpoint-reconciler-type=none",
		"--client-ca-file=" + c.CA, "--cert-dir=" + c.path("apiserver"),
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--requestheader-client-ca-file=" + c.CA, "--requestheader-allowed-names=front-proxy",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("sa.pub"), "--service-account-signing-key-file=" + pki("sa.key"),
		"--kubelet-certificate-authority=" + c.CA, "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + pki("kubelet-client.crt"), "--kubelet-client-key=" + pki("kubelet-client.key"),
		"--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--audit-policy-file=" + c.path("audit-policy.yaml"), "--audit-log-path=" + c.Audit,
	}
	if c.opts.AuditWebhook != "" {
		flags = append(flags, "--audit-webhook-config-file="+c.opts.AuditWebhook, "--audit-webhook-mode=batch",
			"--audit-webhook-batch-max-wait="+cmp.Or(c.opts.AuditBatchWait, time.Second).String())
	}
	return append(flags, c.opts.APIServer...)
}

// controllerFlags ask for credentials of each controller's own: without, RBAC
// refuses most of what they do. For some thirty of them at 20 requests a second, the
// program's own limit, a start takes five seconds longer.
func (c *Cluster) controllerFlags() []string {
	return []string{
		"--kubeconfig=" + c.userFile("system:kube-controller-manager"), "--leader-elect=false",
		"--use-service-account-credentials=true", "--kube-api-qps=1000", "--kube-api-burst=1000",
		"--service-account-private-key-file=" + filepath.Join(c.Dir, "pki", "sa.key"), "--root-ca-file=" + c.CA,
		"--bind-address=127.0.0.1", "--cert-dir=" + c.path("controllers"),
		"--flex-volume-plugin-dir=" + c.path("volume-plugins"),
	}
}
