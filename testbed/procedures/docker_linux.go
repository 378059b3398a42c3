package procedures

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// Addresses on the way between the engine and whoever uses its open port: they
// are for documentation (RFC 5737) and go nowhere.
const (
	engineAddress = "192.0.2.1"
	sourceAddress = "192.0.2.2"
	engineURL     = "http://" + engineAddress + ":2375"
	sourceURL     = "http://" + sourceAddress + ":8080"
	stockImage    = "sallyport.test/stock:1"
)

// Docker is an engine that is open to anybody, in a network of its own with one
// neighbour: where the stand-ins are.
type Docker struct {
	Engine *docker.Engine

	dir, standin string
	source       *server
}

// StartDocker starts the engine and what the procedures find there.
func StartDocker(ctx context.Context, dir string) (_ *Docker, err error) {
	d := &Docker{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop())
		}
	}()
	if d.standin, err = build(ctx, filepath.Join(dir, "programs")); err != nil {
		return nil, err
	}
	dockerd, err := d.dockerd()
	if err != nil {
		return nil, err
	}
	if d.Engine, err = docker.Start(ctx, docker.Options{Dockerd: dockerd, Flags: []string{"-H", "tcp://0.0.0.0:2375"}}); err != nil {
		return nil, err
	}
	if err := errors.Join(d.connect(ctx), d.importStock(ctx)); err != nil {
		return nil, err
	}
	for _, name := range []string{"victim-1", "victim-2", "victim-3", "neighbour"} {
		if _, err := d.Engine.Run(ctx, "--name", name, stockImage); err != nil {
			return nil, err
		}
	}
	_, err = d.Engine.Run(ctx, "--name", "neighbour-health", docker.HealthImage)
	return d, err
}

// dockerd is a program that runs dockerd in a network namespace of its own.
func (d *Docker) dockerd() (string, error) {
	path, err := testbed.LookPath("dockerd")
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.dir, "dockerd")
	text := fmt.Sprintf("#!/bin/sh\nexec unshare --net sh -c 'ip link set lo up && exec %s \"$@\"' sh \"$@\"\n", path)
	return file, os.WriteFile(file, []byte(text), 0o700)
}

// connect makes the source, in its own network, a neighbour of the engine.
func (d *Docker) connect(ctx context.Context) (err error) {
	cmd := exec.Command("unshare", "--net", d.standin, "serve", ":8080")
	cmd.Env = testbed.Environ()
	if d.source, err = serve(cmd); err != nil {
		return err
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	err = await(ctx, "the source's network", func() error {
		if ns, err := os.Readlink(namespace(d.source.cmd.Process.Pid)); err != nil || ns == own {
			return fmt.Errorf("it is not there: %s, %w", ns, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	here, there := d.Engine.PID(), d.source.cmd.Process.Pid
	ip := func(pid int, args ...string) *exec.Cmd { return inside(ctx, pid, "ip", args...) }
	return run(
		ip(here, "link", "add", "to", "type", "veth", "peer", "name", "to", "netns", strconv.Itoa(there)),
		ip(here, "address", "add", engineAddress+"/30", "dev", "to"), ip(here, "link", "set", "to", "up"),
		ip(there, "address", "add", sourceAddress+"/30", "dev", "to"), ip(there, "link", "set", "to", "up"),
		ip(there, "link", "set", "lo", "up"),
	)
}

func namespace(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// inside is a command in the network of a process.
func inside(ctx context.Context, pid int, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + namespace(pid), name}, args...)...)
	cmd.Env = testbed.Environ()
	return cmd
}

// importStock makes the image: the test bed's, with stand-ins beside.
func (d *Docker) importStock(ctx context.Context) error {
	in, out := io.Pipe()
	go func() { out.CloseWithError(d.writeStock(out)) }()
	cmd := d.Engine.CLI(ctx, "import", "-c", `CMD ["/bin/sleep","100000"]`, "-c", "ENV PATH=/usr/bin:/usr/sbin:/bin", "-", stockImage)
	cmd.Stdin = in
	return errors.Join(run(cmd), in.Close())
}

func (d *Docker) writeStock(to io.Writer) error {
	busybox, err := testbed.LookPath("busybox")
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	for _, dir := range []string{"bin", "etc", "host", "proc", "root", "root/.ssh", "sys", "tmp", "usr", "usr/bin", "usr/sbin"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := errors.Join(addProgram(w, "bin/busybox", busybox), addProgram(w, "usr/bin/standin", d.standin)); err != nil {
		return err
	}
	link := func(kind byte, name, to string) error {
		return w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o755})
	}
	for sub, names := range programs {
		for _, name := range names {
			if name == "standin" {
				continue
			}
			if err := link(tar.TypeLink, "usr/"+sub+"/"+name, "usr/bin/standin"); err != nil {
				return err
			}
		}
	}
	for _, applet := range []string{"sh", "sleep", "wget", "chroot", "cat", "id", "tail", "cp", "crontab"} {
		if err := link(tar.TypeSymlink, "bin/"+applet, "busybox"); err != nil {
			return err
		}
	}
	return w.Close()
}

func addProgram(w *tar.Writer, name, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Acts returns the procedures that can be played here, each with its neighbours.
func (d *Docker) Acts() []Act {
	act := func(procedure string) Act {
		return Act{procedure, func(ctx context.Context) error { return errors.Join(d.neighbours(ctx), d.client(ctx, procedure)) }}
	}
	return []Act{act(Kinsing), act(TeamTNT)}
}

// client plays a client at the engine's open port.
func (d *Docker) client(ctx context.Context, part string) error {
	return run(inside(ctx, d.source.cmd.Process.Pid, d.standin, part, engineURL, sourceURL))
}

// neighbours is an administrator who looks after a container, by the engine's
// socket, while another checks its health.
func (d *Docker) neighbours(ctx context.Context) error {
	exec := func(argv ...string) *exec.Cmd {
		return d.Engine.CLI(ctx, append([]string{"exec", "neighbour"}, argv...)...)
	}
	return run(
		exec("/bin/busybox", "id"),
		exec("apt-get", "update"),
		exec("/bin/sh", "-c", "cat /etc/hostname; ls /tmp"),
		exec("/usr/bin/systemctl", "status", "cron"),
	)
}

// Canary runs a command in the neighbour by the open port.
func (d *Docker) Canary(ctx context.Context) error {
	cli := d.Engine.CLI(ctx, "-H", "tcp://"+engineAddress+":2375", "exec", "neighbour", "/bin/busybox", "true")
	cmd := inside(ctx, d.source.cmd.Process.Pid, cli.Path, cli.Args[1:]...)
	cmd.Env = cli.Env
	return run(cmd)
}

// Containers returns the full ids of all containers.
func (d *Docker) Containers(ctx context.Context) ([]string, error) {
	out, err := testbed.Output(d.Engine.CLI(ctx, "ps", "-aq", "--no-trunc"))
	return strings.Fields(out), err
}

// Stop ends all of it.
func (d *Docker) Stop() error {
	var err error
	if d.Engine != nil {
		err = d.Engine.Stop()
	}
	return errors.Join(err, d.source.stop())
}

// Watch is the flags of `up` and `capture` for the engine.
func (d *Docker) Watch() []string {
	return []string{"--docker", d.Engine.Address, "--containerd", d.Engine.ContainerdSocket, "--client-requests", "always"}
}

// Paths has the paths of this machine that show in what is observed, and what is
// written in their place.
func (d *Docker) Paths() []string {
	return []string{d.dir, "/srv/standins", d.Engine.Dir, "/run/engine"}
}
