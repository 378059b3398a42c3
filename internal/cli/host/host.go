// Package host is what can be watched of this host, wired as the configuration and the
// machine say: the witnesses of kernel, runtimes, guards and API server.
package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/starts"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/watch"
)

// Host is everything of this host that can be watched, as the configuration and
// the machine say.
type Host struct {
	conf    config.Config
	Docker  docker.Endpoint
	log     *slog.Logger
	sensor  *kernel.Sensor
	ports   ports
	parser  *requestParser
	Kernels kernel.Features
	starts  *starts.Starts // what the admission webhook waits for
	// The witnesses that have a status of their own.
	pods      podWitness
	admission admissionWitness
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeSocket != 0
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// FindDocker returns the Docker daemon to watch: the one that was configured, or the
// one of this host.
func FindDocker(env *terminal.Env, conf config.Config) docker.Endpoint {
	if conf.Docker != "" {
		return docker.At(conf.Docker, "--docker")
	}
	return docker.Find(env.Getenv)
}

// Find looks at the machine. It starts nothing.
func Find(env *terminal.Env, conf config.Config, log *slog.Logger) *Host {
	h := &Host{conf: conf, Docker: FindDocker(env, conf), log: log, Kernels: kernel.Probe()}
	h.parser = newRequestParser()
	h.sensor = kernel.New(kernel.Options{
		Requests: kernel.Mode(conf.ClientRequests), Sockets: h.sockets(), OnSegment: h.parser.segment, Logger: log,
	})
	h.ports.set = h.sensor.SetPorts
	h.starts = starts.New(admission.GateOptions{Hold: conf.AdmissionHold})
	h.pods.host, h.admission.host = h, h
	return h
}

// FindContainerd returns where containerd is, or why it is not known.
func FindContainerd(conf config.Config, daemon docker.Endpoint) (string, error) {
	if conf.Containerd != "" {
		return conf.Containerd, nil
	}
	var err error
	if daemon.Socket != "" {
		var path string
		if path, err = containerd.Find(daemon.Socket); err == nil {
			return path, nil
		}
	}
	for _, path := range containerd.Usual() {
		if isSocket(path) {
			return path, nil
		}
	}
	if err == nil {
		err = errors.New("no socket at " + strings.Join(containerd.Usual(), " or "))
	}
	return "", err
}

// FindCRIO returns where CRI-O is; "" when it is not on this host.
func FindCRIO(conf config.Config) string {
	if conf.CRIO == "" && isSocket(containerd.UsualCRIO) {
		return containerd.UsualCRIO
	}
	return conf.CRIO
}

// sockets lists the service sockets whose clients the kernel sensor watches.
func (h *Host) sockets() []kernel.Socket {
	var out []kernel.Socket
	add := func(s event.Service, path string) {
		if path == "" || slices.ContainsFunc(out, func(k kernel.Socket) bool { return k.Path == path }) {
			return
		}
		out = append(out, kernel.Socket{Service: s, Path: path})
	}
	add(event.ServiceDocker, h.Docker.Socket)
	if path, err := FindContainerd(h.conf, h.Docker); err == nil {
		add(event.ServiceContainerd, path)
	}
	for _, path := range containerd.Usual() {
		add(event.ServiceContainerd, path)
	}
	add(event.ServiceCRIO, cmp.Or(h.conf.CRIO, containerd.UsualCRIO))
	return out
}

// Witnesses returns the witnesses of this host, that of an API server's audit, which
// may be nil, and others that the admission webhook is to listen to.
func (h *Host) Witnesses(audits *audit.Witness, others ...watch.Named) []watch.Named {
	list := []watch.Named{
		{Name: event.WitnessKernel, Witness: sensorWitness{h}},
		{Name: event.WitnessDocker, Witness: dockerWitness{h}},
		{Name: event.WitnessContainerd, Witness: containerdWitness{h}},
	}
	if path := FindCRIO(h.conf); path != "" {
		list = append(list, watch.Named{Name: event.WitnessCRIO, Witness: containerd.NewCRIO(path, h.log)})
	}
	if h.conf.KubeKubeconfig != "" {
		list = append(list, watch.Named{Name: event.WitnessKube, Witness: &h.pods})
	}
	if audits != nil {
		list = append(list, watch.Named{Name: event.WitnessAudit, Witness: auditWitness{audits}})
	}
	list = append(list, others...)
	if h.conf.AdmissionListen == "" {
		return list
	}
	for i := range list {
		list[i].Witness = tapped{list[i].Witness, h.starts.See}
	}
	return append(list, watch.Named{Name: event.WitnessAdmission, Witness: &h.admission})
}

// Missing lists what cannot be watched now and what to do about it, for a
// person; all says that nothing can.
func (h *Host) Missing() (lines []string, all bool) {
	say := func(what, hint string) { lines = append(lines, what+". "+hint) }
	level := h.Kernels.Level()
	if level == kernel.LevelServices {
		what, hint := "processes are not seen (level L0)", "Run as root."
		for _, f := range h.Kernels {
			if f.Needed && !f.Available() {
				what, hint = fmt.Sprintf("%s: %s: %v", what, f.Name, f.Err), f.Hint
				break
			}
		}
		say(what, hint)
	}
	if !h.Docker.Present {
		say("Docker is not seen: no socket at "+h.Docker.Socket, "Start the Docker daemon, or name its address with --docker.")
	} else if h.Docker.Socket != "" && !canConnect(h.Docker.Socket) {
		say("Docker is not seen: no permission for "+h.Docker.Socket, "Run as root, or as a user who may use Docker.")
	}
	crio := FindCRIO(h.conf)
	switch path, err := FindContainerd(h.conf, h.Docker); {
	case err != nil && crio != "":
	case err != nil:
		say("containerd is not seen: "+err.Error(), "Name its socket with --containerd.")
	case absent(path):
		say("containerd is not seen: no socket at "+path, "Start containerd, or name its socket with --containerd.")
	case !canConnect(path):
		say("containerd is not seen: no permission for "+path, "Run as root.")
	}
	switch {
	case crio == "" || canConnect(crio):
	case absent(crio):
		say("CRI-O is not seen: no socket at "+crio, "Start CRI-O, or name its socket with --crio.")
	default:
		say("CRI-O is not seen: no permission for "+crio, "Run as root.")
	}
	all = len(lines) >= 3 && !h.conf.SeesRequests()
	if h.conf.KubeKubeconfig != "" && !h.conf.SeesRequests() && h.conf.CollectListen == "" {
		say("who asks the API server for a command is not seen", "Name its audit with --audit-log or --audit-webhook, or serve --admission.")
	}
	return lines, all
}

// requestParser gives what the kernel sensor samples to the parser of the
// service's protocol. Only the sensor calls it, its figures may be read
// meanwhile.
type requestParser struct {
	mu       sync.Mutex
	requests *docker.Requests     // guarded by mu
	runtime  *containerd.Requests // guarded by mu
}

func newRequestParser() *requestParser {
	return &requestParser{
		requests: docker.NewRequests(docker.RequestOptions{}),
		runtime:  containerd.NewRequests(containerd.RequestOptions{}),
	}
}

func (p *requestParser) segment(s event.Segment) []event.Observation {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Service == event.ServiceContainerd || s.Service == event.ServiceCRIO {
		return p.runtime.Segment(s)
	}
	return p.requests.Segment(s)
}

func (p *requestParser) forget(c event.ConnID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests.Forget(c)
	p.runtime.Forget(c)
}

func (p *requestParser) counters() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, r := p.requests.Stats(), p.runtime.Stats()
	return map[string]uint64{
		"client_request_segments": s.Segments, "client_requests": s.Requests, "client_answers": s.Answers,
		"client_requests_uncertain": s.Uncertain, "client_requests_cut": s.Cut,
		"client_connections_lost": s.Lost, "client_connections_evicted": s.Evicted,
		"runtime_request_segments": r.Segments, "runtime_calls": r.Calls, "runtime_requests": r.Requests,
		"runtime_requests_uncertain": r.Uncertain, "runtime_requests_cut": r.Cut,
		"runtime_connections_lost": r.Lost, "runtime_connections_evicted": r.Evicted,
	}
}

// sensorWitness is the kernel sensor as a witness: a kernel that cannot be used
// now will not be usable in a minute.
type sensorWitness struct{ host *Host }

// Run implements watch.Witness.
func (w sensorWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	found, stop := context.WithCancel(ctx)
	defer stop()
	go w.host.followKubelet(found)
	err := w.host.sensor.Run(ctx, func(o event.Observation) {
		if c, ok := o.(event.ClientClose); ok {
			w.host.parser.forget(c.Conn)
		}
		emit(o)
	})
	var unavailable *kernel.UnavailableError
	if errors.As(err, &unavailable) {
		return fmt.Errorf("%w: %w", watch.ErrUnavailable, err)
	}
	return err
}

// SensorStatus is the kernel sensor's status as the engine reports it.
func (h *Host) SensorStatus() watch.Sensor {
	s := h.sensor.Status()
	out := watch.Sensor{
		Level: string(s.Level), Mode: string(s.Mode), Requests: s.Requests, Reason: s.Reason, Peers: s.Peers, Doors: s.Doors,
		Connections: s.Connections, Malformed: s.Malformed,
	}
	for _, p := range s.Programs {
		out.Programs = append(out.Programs, watch.Program{Name: p.Name, Runs: p.Runs, Time: p.Time})
	}
	return out
}
