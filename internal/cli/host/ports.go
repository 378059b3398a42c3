package host

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kubelet"
)

// ports are the TCP ports whose clients the kernel sensor is to see. Services
// are found one by one; the sensor takes all ports at once.
type ports struct {
	set func([]kernel.Port)

	mu sync.Mutex
	by map[event.Service][]kernel.Port // guarded by mu
}

func (p *ports) are(s event.Service, list []kernel.Port) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.by[s], list) {
		return
	}
	if p.by == nil {
		p.by = map[event.Service][]kernel.Port{}
	}
	p.by[s] = list
	p.set(slices.Concat(p.by[event.ServiceDocker], p.by[event.ServiceKubelet]))
}

// dockerWitness tells the kernel sensor which process the daemon is, for what it
// asks of its containerd is nobody's command, and which ports it listens on: they
// change only with the daemon.
type dockerWitness struct{ host *Host }

// Run implements watch.Witness.
func (w dockerWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	defer w.host.sensor.Skip(0)
	return docker.New(docker.Options{Address: w.host.Docker.Address, Logger: w.host.log}).Run(ctx, func(o event.Observation) {
		if s, ok := o.(event.WitnessState); ok {
			w.host.sensor.Skip(s.DaemonPID)
			if s.Up {
				w.host.ports.are(event.ServiceDocker, dockerPorts(s))
			}
		}
		emit(o)
	})
}

// dockerPorts returns the ports of the daemon. They are this host's only if the
// daemon's process was found here. Whether clients use TLS, each one shows.
func dockerPorts(s event.WitnessState) []kernel.Port {
	var out []kernel.Port
	for _, door := range s.OpenDoors {
		p := kernel.Port{Service: event.ServiceDocker, Plain: true, Process: s.DaemonPID}
		address, ok := strings.CutPrefix(door, "tcp ")
		var err error
		if p.Address, err = netip.ParseAddrPort(address); ok && err == nil && s.DaemonPID != 0 {
			out = append(out, p)
		}
	}
	return out
}

// kubeletEvery is how often a kubelet is looked for: it may start any time, and
// start anew.
const kubeletEvery = 3 * time.Second

// followKubelet has the kernel sensor watch the kubelet's ports until ctx ends.
// They are TLS: who connects is seen, not what they ask.
func (h *Host) followKubelet(ctx context.Context) {
	ticker := time.NewTicker(kubeletEvery)
	defer ticker.Stop()
	for {
		h.ports.are(event.ServiceKubelet, kubeletPorts(kubelet.Find()))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func kubeletPorts(nodes []kubelet.Node) []kernel.Port {
	var out []kernel.Port
	for _, n := range nodes {
		for _, a := range n.Addresses {
			out = append(out, kernel.Port{Service: event.ServiceKubelet, Address: a, Process: n.PID, Believed: n.Believed})
		}
	}
	return out
}
