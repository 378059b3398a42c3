package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	crio "github.com/sallyport/sallyport/testbed/crio/release"
	"github.com/sallyport/sallyport/testbed/kube/release"
	receivers "github.com/sallyport/sallyport/testbed/receivers/release"
)

func probes() map[string]func() string {
	return map[string]func() string{
		Root:       probeRoot,
		Docker:     func() string { return probeRootAnd("dockerd", "docker", "containerd", "runc", "ctr", "busybox") },
		Containerd: func() string { return probeRootAnd("containerd", "runc", "ctr", "busybox") },
		Podman:     func() string { return probeRootAnd("podman", "conmon", "runc", "docker", "busybox") },
		Kube:       probeKube,
		BPF:        probeBPF,
		Engine:     probeEngine,
		Receivers:  probeReceivers,
		Sidekick:   probeSidekick,
		CRIO:       probeCRIO,
		VM:         probeVM,
	}
}

// probeRoot asks for CAP_SYS_ADMIN too: root inside an ordinary container has
// uid 0 and can do nothing of what the tests need.
func probeRoot() string {
	if os.Geteuid() != 0 {
		return "run the tests as root (sudo)"
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Sprintf("read own capabilities: %v", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return "root lacks CAP_SYS_ADMIN; run on a host or virtual machine, not in an unprivileged container"
	}
	return ""
}

// debianPackages says which package of Debian has a program.
var debianPackages = map[string]string{
	"podman": "podman", "conmon": "conmon", "dockerd": "docker.io", "docker": "docker.io", "containerd": "containerd", "ctr": "containerd",
	"runc": "runc", "busybox": "busybox-static", "qemu-system-x86_64": "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm", "xz": "xz-utils",
	"nsenter": "util-linux", "/usr/lib/cni/ptp": "containernetworking-plugins", "/usr/lib/cni/host-local": "containernetworking-plugins",
	"/usr/lib/cni/loopback": "containernetworking-plugins", "rsyslogd": "rsyslog", "apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg", "ldd": "libc-bin",
}

func probeRootAnd(programs ...string) string {
	if why := probeRoot(); why != "" {
		return why
	}
	return probePrograms(programs...)
}

func probePrograms(programs ...string) string {
	for _, p := range programs {
		if _, err := LookPath(p); err != nil {
			return fmt.Sprintf("program %s is not installed (apt-get install %s)", p, debianPackages[p])
		}
	}
	return ""
}

// probeVM does not ask whether the archive can be reached: kernels may be in the
// cache. The guest is built from this machine's programs, hence amd64.
func probeVM() string {
	if runtime.GOARCH != "amd64" {
		return "virtual machines are built on amd64 only"
	}
	return probePrograms("qemu-system-x86_64", "qemu-system-aarch64", "apt-get", "apt-cache", "dpkg-deb", "xz", "ldd", "runc", "busybox")
}

// probeKube does not build what is missing: that takes ten minutes.
func probeKube() string {
	why := probeRootAnd("containerd", "runc", "ctr", "busybox", "nsenter",
		"/usr/lib/cni/ptp", "/usr/lib/cni/host-local", "/usr/lib/cni/loopback")
	if why != "" {
		return why
	}
	if _, err := release.Find(context.Background()); err != nil {
		return err.Error()
	}
	return ""
}

func probeEngine() string {
	dir := os.Getenv(EnvEngine)
	if dir == "" {
		return "make test-engine builds a current Docker engine and runs the tests on it (" + EnvEngine + ")"
	}
	for _, p := range []string{"dockerd", "docker", "cli-plugins/docker-compose", "cli-plugins/docker-buildx", "containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		if _, err := exec.LookPath(filepath.Join(dir, p)); err != nil {
			return fmt.Sprintf("%s=%s has no program %s (make test-engine)", EnvEngine, dir, p)
		}
	}
	return probeRootAnd("busybox")
}

func probeReceivers() string {
	if why := probePrograms("rsyslogd"); why != "" {
		return why
	}
	if tls, err := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_gtls.so"); err != nil || len(tls) == 0 {
		return "rsyslog has no TLS (apt-get install rsyslog-gnutls)"
	}
	if _, err := receivers.Find(context.Background()); err != nil {
		return "make test-receivers builds real receivers and runs the tests of exports on them: " + err.Error()
	}
	return ""
}

func probeSidekick() string {
	if _, err := LookPath("falcosidekick"); err != nil {
		return "no program falcosidekick is in PATH"
	}
	return ""
}

func probeCRIO() string {
	dir := os.Getenv(EnvCRIO)
	if dir == "" {
		return "make test-crio builds CRI-O and runs the tests on it (" + EnvCRIO + ")"
	}
	for _, p := range crio.Programs {
		if _, err := exec.LookPath(filepath.Join(dir, p)); err != nil {
			return fmt.Sprintf("%s=%s has no program %s (make test-crio)", EnvCRIO, dir, p)
		}
	}
	return probeRootAnd("conmon", "runc", "busybox")
}

// LookPath finds a program in the directory of EnvEngine, in PATH or, because a
// daemon's programs are often not in a user's PATH, in the system directories.
func LookPath(program string) (string, error) {
	if dir := os.Getenv(EnvEngine); dir != "" {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return p, nil
		}
	}
	if p, err := exec.LookPath(program); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/local/sbin/", "/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if p, err := exec.LookPath(dir + program); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("look up %s: %w", program, exec.ErrNotFound)
}

// Environ is the process's environment with the system directories in PATH, so
// that a daemon finds its own helpers, and before them that of EnvEngine.
func Environ() []string {
	env := os.Environ()
	for i, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			if dir := os.Getenv(EnvEngine); dir != "" {
				v = dir + ":" + v
			}
			env[i] = "PATH=" + v + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
		}
	}
	return env
}

// probeBPF loads the kind of program that the kernel sensor is made of.
func probeBPF() string {
	if why := probeRoot(); why != "" {
		return why
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Tracing,
		AttachType:   ebpf.AttachTraceRawTp,
		AttachTo:     "sched_process_exec",
		License:      "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Sprintf("load a BTF tracepoint program: %v; needs Linux 5.11 or later with CONFIG_DEBUG_INFO_BTF", err)
	}
	prog.Close()
	return ""
}
