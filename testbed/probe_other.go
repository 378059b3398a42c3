//go:build !linux

package testbed

func probes() map[string]func() string {
	no := func() string { return "needs Linux" }
	return map[string]func() string{Root: no, Docker: no, Containerd: no, Podman: no, Kube: no, BPF: no, Engine: no, Receivers: no, Sidekick: no, CRIO: no, VM: no}
}
