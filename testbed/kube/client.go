//go:build linux

package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/testbed"
)

// Kubectl returns kubectl with args, as user, inside the cluster's network.
func (c *Cluster) Kubectl(ctx context.Context, user User, args ...string) *exec.Cmd {
	cmd := c.Command(ctx, filepath.Join(c.Programs, "kubectl"), args...)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+user.Kubeconfig, "KUBECACHEDIR="+c.path("kubectl"))
	return cmd
}

// Apply runs "kubectl apply" on manifests, as the administrator.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	cmd := c.Kubectl(ctx, c.Admin, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	_, err := testbed.Output(cmd)
	return err
}

// TLS returns a configuration that trusts the cluster's authority and shows the
// user's certificate; none for the zero User.
func (c *Cluster) TLS(user User) (*tls.Config, error) {
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(ca)
	if user.Cert != "" {
		cert, err := tls.LoadX509KeyPair(user.Cert, user.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// HTTPClient returns a client for servers inside the cluster's network, the API
// server and kubelets, as user.
func (c *Cluster) HTTPClient(user User) (*http.Client, error) {
	config, err := c.TLS(user)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: c.Dial, TLSClientConfig: config}}, nil
}

// Get asks the API server as the administrator for a path, as in
// "/api/v1/nodes".
func (c *Cluster) Get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, "")
}

// Create posts a manifest in YAML or JSON to a path as the administrator.
func (c *Cluster) Create(ctx context.Context, path, manifest string) ([]byte, error) {
	return c.do(ctx, http.MethodPost, path, manifest)
}

func (c *Cluster) do(ctx context.Context, method, path, body string) ([]byte, error) {
	client, err := c.HTTPClient(c.Admin)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, c.Server+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/yaml")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(b))
	}
	return b, err
}

// Pod is a running pod.
type Pod struct {
	Namespace, Name, UID string
	Node                 string
	IP                   string
	Containers           map[string]string // the runtime's ids by name
}

// DefaultPodSpec is one container, "app", of Image. It stops at once: sleep, as
// a container's first process, does not hear that it should.
const DefaultPodSpec = `terminationGracePeriodSeconds: 0
containers: [{name: app, image: "` + Image + `"}]`

// RunPod makes a pod of a spec in YAML or JSON, "" for DefaultPodSpec, and
// returns when all of its containers run; ctx or a minute bounds that.
func (c *Cluster) RunPod(ctx context.Context, namespace, name, spec string) (Pod, error) {
	if spec == "" {
		spec = DefaultPodSpec
	}
	manifest := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %q, namespace: %q}\nspec:\n  %s\n",
		name, namespace, strings.ReplaceAll(spec, "\n", "\n  "))
	if _, err := c.Create(ctx, "/api/v1/namespaces/"+namespace+"/pods", manifest); err != nil {
		return Pod{}, fmt.Errorf("run pod %s: %w", name, err)
	}
	return c.AwaitPod(ctx, namespace, name)
}

// AwaitPod returns a pod when all of its containers run; ctx or a minute bounds
// that.
func (c *Cluster) AwaitPod(ctx context.Context, namespace, name string) (Pod, error) {
	var p Pod
	err := c.await(ctx, func(ctx context.Context) (err error) {
		p, err = c.pod(ctx, namespace, name)
		return err
	})
	if err != nil {
		return p, fmt.Errorf("await pod %s: %w", name, err)
	}
	return p, nil
}

// pod asks for a pod; one whose containers do not all run is an error.
func (c *Cluster) pod(ctx context.Context, namespace, name string) (Pod, error) {
	b, err := c.Get(ctx, "/api/v1/namespaces/"+namespace+"/pods/"+name)
	if err != nil {
		return Pod{}, err
	}
	var got struct {
		Metadata struct{ UID string }
		Spec     struct {
			NodeName   string
			Containers []struct{}
		}
		Status struct {
			PodIP             string
			ContainerStatuses []struct {
				Name, ContainerID string
				State             map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return Pod{}, err
	}
	p := Pod{
		Namespace: namespace, Name: name, UID: got.Metadata.UID, Node: got.Spec.NodeName, IP: got.Status.PodIP,
		Containers: make(map[string]string),
	}
	for _, s := range got.Status.ContainerStatuses {
		if _, ok := s.State["running"]; ok {
			_, p.Containers[s.Name], _ = strings.Cut(s.ContainerID, "://")
		}
	}
	if len(p.Containers) == 0 || len(p.Containers) != len(got.Spec.Containers) {
		return p, fmt.Errorf("pod %s does not run: %+v", name, got.Status)
	}
	return p, nil
}

// Namespace makes a namespace and returns when pods can be made in it.
func (c *Cluster) Namespace(ctx context.Context, name string) error {
	manifest := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %q}\n", name)
	if _, err := c.Create(ctx, "/api/v1/namespaces", manifest); err != nil {
		return fmt.Errorf("make namespace: %w", err)
	}
	return c.awaitAccount(ctx, name)
}

// awaitAccount waits for what every pod in a namespace needs: its account, and
// the authority that the account's token comes with.
func (c *Cluster) awaitAccount(ctx context.Context, namespace string) error {
	return c.await(ctx, func(ctx context.Context) error {
		for _, object := range []string{"serviceaccounts/default", "configmaps/kube-root-ca.crt"} {
			if _, err := c.Get(ctx, "/api/v1/namespaces/"+namespace+"/"+object); err != nil {
				return err
			}
		}
		return nil
	})
}

// await asks until there is no error; ctx or a minute bounds that.
func (c *Cluster) await(ctx context.Context, ask func(context.Context) error) error {
	return c.APIServer().Ready(ctx, ask)
}
