//go:build linux

package docker

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/testbed"
)

// CLI returns the docker command line with args, for this engine.
func (e *Engine) CLI(ctx context.Context, args ...string) *exec.Cmd {
	return e.command(ctx, "docker", args)
}

// Said is what docker printed, without what the daemon says of this host to everybody
// who makes a container where the kernel forwards nothing.
func Said(out []byte) string {
	return strings.ReplaceAll(string(out), "WARNING: IPv4 forwarding is disabled. Networking will not work.\n", "")
}

// Ctr returns ctr with args, for the daemon's containerd and Docker's
// namespace there.
func (e *Engine) Ctr(ctx context.Context, args ...string) *exec.Cmd {
	return e.command(ctx, "ctr", append([]string{"-a", e.ContainerdSocket, "-n", "moby"}, args...))
}

// Runc returns runc with args, on the state of the engine's containers.
func (e *Engine) Runc(ctx context.Context, args ...string) *exec.Cmd {
	return e.command(ctx, "runc", append([]string{"--root", filepath.Join(e.ExecRoot, "runtime-runc", "moby")}, args...))
}

func (e *Engine) command(ctx context.Context, program string, args []string) *exec.Cmd {
	path, err := testbed.LookPathIn(filepath.Join(e.Dir, "cli"), program)
	if err != nil {
		path = program // Start reports it
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(testbed.Environ(), "DOCKER_HOST="+e.Address, "DOCKER_CONFIG="+filepath.Join(e.Dir, "cli"))
	return cmd
}

// As makes cmd run as another Unix user who may talk to the engine. The uid
// needs no entry in /etc/passwd. It returns cmd.
func As(cmd *exec.Cmd, uid uint32) *exec.Cmd {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: ClientGID}
	return cmd
}

// Run starts a container in the background, "docker run -d ARGS…", and returns
// its full id. ARGS hold flags, an image and a command.
func (e *Engine) Run(ctx context.Context, args ...string) (string, error) {
	return Output(e.CLI(ctx, append([]string{"run", "-d"}, args...)...))
}

// Remove kills and removes a container.
func (e *Engine) Remove(ctx context.Context, container string) error {
	_, err := Output(e.CLI(ctx, "rm", "-f", "-v", container))
	return err
}

// HostPID returns the host pid of a container's first process.
func (e *Engine) HostPID(ctx context.Context, container string) (int, error) {
	out, err := Output(e.CLI(ctx, "inspect", "-f", "{{.State.Pid}}", container))
	if err != nil {
		return 0, err
	}
	var pid int
	if _, err := fmt.Sscan(out, &pid); err != nil || pid == 0 {
		return 0, fmt.Errorf("inspect container %s: it has no process (pid %q)", container, out)
	}
	return pid, nil
}

// Output is testbed.Output.
func Output(cmd *exec.Cmd) (string, error) { return testbed.Output(cmd) }
