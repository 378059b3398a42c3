//go:build linux

package crio

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/crio/release"
)

// Client returns a client of the socket, as crictl is one: a method of CRI's
// RuntimeService and its request, as JSON.
func (r *Runtime) Client(ctx context.Context, method, request string) *exec.Cmd {
	path, err := testbed.LookPathIn(r.Dir, release.Client)
	if err != nil {
		path = filepath.Join(r.programs, release.Client)
	}
	return exec.CommandContext(ctx, path, r.Socket, method, request)
}

// As makes cmd run as another user who may talk to CRI-O. It returns cmd.
func As(cmd *exec.Cmd, uid uint32) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: ClientGID}}
	return cmd
}

// ask returns a field of what CRI-O answers.
func (r *Runtime) ask(ctx context.Context, method, field string, request any) (string, error) {
	asked, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	out, err := testbed.Output(r.Client(ctx, method, string(asked)))
	if err != nil || field == "" {
		return "", err
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", err
	}
	s, ok := answer[field].(string)
	if !ok {
		return "", fmt.Errorf("%s: no %s in %s", method, field, out)
	}
	return s, nil
}

// object is one of JSON's.
type object map[string]any

// Pod is a pod with one container, "app".
type Pod struct {
	Namespace, Name, UID string
	Sandbox, Container   string // ids
}

// nodeNetwork is the machine's network and its IPC; processes are the container's own.
var nodeNetwork = object{"network": 2, "pid": 1, "ipc": 2}

// RunPod starts a pod as a kubelet would. argv is its container's command, by default
// the image's.
func (r *Runtime) RunPod(ctx context.Context, namespace, name string, argv ...string) (Pod, error) {
	p := Pod{Namespace: namespace, Name: name, UID: fmt.Sprintf("uid-of-%s-%d", name, r.pods.Add(1))}
	labels := object{"io.kubernetes.pod.namespace": p.Namespace, "io.kubernetes.pod.name": p.Name, "io.kubernetes.pod.uid": p.UID}
	pod := object{
		"metadata": object{"name": p.Name, "namespace": p.Namespace, "uid": p.UID}, "labels": labels,
		"log_directory": r.path("logs/" + p.UID),
		"linux": object{
			"cgroup_parent":    "/" + r.cgroup,
			"security_context": object{"namespace_options": nodeNetwork},
		},
	}
	var err error
	if p.Sandbox, err = r.ask(ctx, "RunPodSandbox", "pod_sandbox_id", object{"config": pod}); err != nil {
		return p, err
	}
	labels["io.kubernetes.container.name"] = "app"
	container := object{
		"metadata": object{"name": "app"}, "image": object{"image": Image, "user_specified_image": Image}, "command": argv, "labels": labels,
		"log_path": "app.log", "linux": object{"security_context": object{"namespace_options": nodeNetwork}},
	}
	if p.Container, err = r.ask(ctx, "CreateContainer", "container_id", object{"pod_sandbox_id": p.Sandbox, "config": container, "sandbox_config": pod}); err != nil {
		return p, err
	}
	_, err = r.ask(ctx, "StartContainer", "", object{"container_id": p.Container})
	return p, err
}

// ExecSync returns a client that runs a command in a container and prints what it says.
func (r *Runtime) ExecSync(ctx context.Context, container string, argv ...string) *exec.Cmd {
	return r.exec(ctx, "ExecSync", object{"container_id": container, "cmd": argv, "timeout": 10})
}

// Exec is ExecSync by a stream, as crictl exec and kubectl exec have it.
func (r *Runtime) Exec(ctx context.Context, container string, argv ...string) *exec.Cmd {
	return r.exec(ctx, "Exec", object{"container_id": container, "cmd": argv, "stdout": true, "stderr": true})
}

func (r *Runtime) exec(ctx context.Context, method string, request object) *exec.Cmd {
	asked, _ := json.Marshal(request) // no way to fail
	return r.Client(ctx, method, string(asked))
}
