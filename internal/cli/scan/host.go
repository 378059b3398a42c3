package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/docker"
	dockersettings "github.com/sallyport/sallyport/internal/docker/settings"
	"github.com/sallyport/sallyport/internal/hosts"
	kubesettings "github.com/sallyport/sallyport/internal/kube/settings"
	"github.com/sallyport/sallyport/internal/kubelet"
	"github.com/sallyport/sallyport/internal/lib/listening"
	"github.com/sallyport/sallyport/internal/lib/process"
)

// host reads this machine.
func (g *gatherer) host(ctx context.Context) {
	h, unread, skipped := hosts.Read()
	g.out.Unread = append(g.out.Unread, unread...)
	g.out.Skipped = append(g.out.Skipped, skipped...)
	e := engine{host: h, out: &g.out}
	if address, socket := e.find(docker.Find(g.env.Getenv)); address != "" {
		e.read(ctx, address, socket)
		g.docker = address
	}
	e.others()
	g.kubernetes(h)
	g.out.Hosts = append(g.out.Hosts, *h)
}

// kubernetes reads what of a cluster runs on this machine: its kubelet, its API server,
// and the files that hold their power.
func (g *gatherer) kubernetes(h *inventory.Host) {
	node, server := 0, 0
	for _, n := range kubelet.Find() {
		if n.Believed {
			node = cmp.Or(node, int(n.PID))
		}
	}
	servers, others := kubesettings.FindAPIServers()
	if len(servers) > 0 {
		server = servers[0]
	}
	if len(servers) > 1 {
		why := fmt.Sprintf("%d API servers run: the settings are those of process %d", len(servers), server)
		g.out.Unread = append(g.out.Unread, inventory.Unread{What: inventory.PartAPIServer, From: h.Name, Why: why})
	}
	p := kubesettings.Host("/", h.Name, node, server)
	h.Kubelet, h.APIServer, h.Files = p.Kubelet, p.APIServer, p.Files
	g.out.Unread = append(append(g.out.Unread, p.Unread...), kubesettings.Combined(h.Name)...)
	if h.APIServer == nil && len(others) > 0 {
		why := fmt.Sprintf("process %d is called kube-apiserver and is not root's: anybody can call one so", others[0])
		g.out.Unread = append(g.out.Unread, inventory.Unread{What: inventory.PartAPIServer, From: h.Name, Why: why, Help: "scan its manifest with --from FILE as well"})
	}
}

// engine reads the Docker engine of a host.
type engine struct {
	host *inventory.Host
	out  *inventory.Inventory
}

// missed notes what could not be read.
func (e *engine) missed(what inventory.Part, from, help string, err error) {
	if help == "" && errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		help = "run it as root"
	}
	e.out.Unread = append(e.out.Unread, inventory.Unread{What: what, From: cmp.Or(from, e.host.Name), Why: err.Error(), Help: help})
}

// find says which daemon to ask: the one of DOCKER_HOST or the usual socket, else any
// that listens on a socket here. There may be none.
func (e *engine) find(usual docker.Endpoint) (address, socket string) {
	if usual.Present && usual.Socket == "" {
		e.missed(inventory.PartDaemon, usual.Address, "DOCKER_HOST=unix://PATH, for the daemon of this host", errors.New("DOCKER_HOST is no unix socket: whose daemon that is cannot be known"))
		return "", ""
	}
	if usual.Present {
		return usual.Address, usual.Socket
	}
	if usual.Said == "DOCKER_HOST" {
		e.missed(inventory.PartDaemon, usual.Address, "", errors.New("there is no such socket"))
		return "", ""
	}
	for i := range e.host.Sockets {
		if s := &e.host.Sockets[i]; s.Service == inventory.ServiceDocker {
			return "unix://" + s.Path, s.Path
		}
	}
	return "", ""
}

func (e *engine) read(ctx context.Context, address, socket string) {
	survey, err := docker.Look(ctx, address)
	if err != nil {
		e.missed(inventory.PartContainers, address, "", err)
		survey = &docker.Survey{Docker: inventory.Docker{Socket: socket}}
	}
	d := &survey.Docker
	e.host.Docker, e.host.Running = d, survey.Running
	e.out.Unread = append(e.out.Unread, survey.Unread...)
	for i := range e.host.Running {
		hosts.Resolve(e.host.Running[i].Mounts)
	}
	d.PID, err = docker.Owner(socket)
	if found := containerdOf(d.PID, socket); found != "" {
		d.Containerd = found
	}
	if p, err := filepath.EvalSymlinks(d.Containerd); err == nil {
		d.Containerd = p
	}
	if err != nil {
		e.missed(inventory.PartDaemon, address, "", err)
		e.missed(inventory.PartListeners, address, "", err)
		return
	}
	e.told()
	e.ports(ctx, address)
}

// containerdOf finds the containerd of a daemon, which is known by its process, or else by its
// socket: then all processes are looked into for it.
func containerdOf(pid int, socket string) string {
	if pid > 0 {
		if a := containerd.Of(pid); a != "" {
			return a
		}
	}
	a, _ := containerd.Find(socket) // there may be none
	return a
}

// told reads how the daemon was told to run.
func (e *engine) told() {
	d := e.host.Docker
	skipped, failed := dockersettings.Read(d.PID, d)
	e.out.Skipped = append(e.out.Skipped, skipped...)
	for _, err := range failed {
		e.missed(inventory.PartDaemon, "", "", err)
	}
	for i := range e.host.Running { // what the daemon gives where nothing was asked for
		if c := &e.host.Running[i]; c.Escalation == inventory.Unknown && d.NoNewPrivs != inventory.Unknown {
			c.Escalation = inventory.AnswerOf(d.NoNewPrivs == inventory.No)
		}
	}
}

// ports finds out what the TCP addresses that the daemon listens on ask for.
func (e *engine) ports(ctx context.Context, from string) {
	d := e.host.Docker
	all, err := listening.TCP(uint32(d.PID))
	if err != nil {
		e.missed(inventory.PartListeners, from, "", err)
		return
	}
	here, err := process.Here.Shares(uint32(d.PID), "net") // whether its loopback is ours
	var answering []netip.AddrPort
	for _, a := range all {
		l := inventory.Listener{Service: inventory.ServiceDocker, Address: a.String(), PID: d.PID}
		access := docker.Access{Why: cmp.Or(err, errors.New("the daemon is in another network namespace"))}
		if here {
			access = docker.Probe(ctx, a)
		}
		l.TLS, l.ClientCert = access.TLS, access.ClientCert
		if access.Docker != inventory.Yes && !dockersettings.Asked(d, a.Port()) {
			if access.Docker == inventory.Unknown && d.Swarm != inventory.Yes {
				e.missed(inventory.PartListeners, a.String(), "", cmp.Or(access.Why, errors.New("what answers there could not be found out")))
			}
			continue // metrics, or a swarm's own
		}
		if access.ClientCert == inventory.Unknown {
			e.missed(inventory.PartListeners, a.String(), "", cmp.Or(access.Why, errors.New("what it asks for could not be found out")))
		}
		answering = append(answering, a)
		e.host.Listeners = append(e.host.Listeners, l)
	}
	d.Disagree = append(d.Disagree, dockersettings.Listening(d, answering)...)
}

// others says which engines were not asked.
func (e *engine) others() {
	d := cmp.Or(e.host.Docker, &inventory.Docker{})
	for i := range e.host.Sockets {
		s := &e.host.Sockets[i]
		switch s.Service {
		case inventory.ServiceDocker:
			if s.Path != d.Socket && (s.PID == 0 || s.PID != d.PID) {
				e.missed(inventory.PartContainers, s.Path, "DOCKER_HOST=unix://PATH, for one daemon after the other", fmt.Errorf("another Docker daemon than %s", cmp.Or(d.Socket, "the one that was asked")))
			}
		case inventory.ServiceContainerd, inventory.ServiceCRIO, inventory.ServicePodman:
			if s.Path != d.Containerd {
				e.missed(inventory.PartRuntimes, s.Path, "", fmt.Errorf("containers of %s are not listed", s.Service))
			}
		}
	}
}
