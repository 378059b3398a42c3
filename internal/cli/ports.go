package cli

import (
	"context"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
)

// dockerWitness has the kernel sensor watch the ports that the daemon is found
// to listen on: they change only with the daemon.
type dockerWitness struct{ host *host }

// Run implements watch.Witness.
func (w dockerWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	return docker.New(docker.Options{Address: w.host.docker.address, Logger: w.host.log}).Run(ctx, func(o event.Observation) {
		if s, ok := o.(event.WitnessState); ok && s.Up {
			w.host.sensor.SetPorts(dockerPorts(s))
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
