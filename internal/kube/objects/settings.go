package objects

import (
	"encoding/json"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/settings"
)

// found is what was read of settings.
type found struct {
	hosts  []inventory.Host // of files that configure a kubelet
	server *inventory.APIServer
	from   string // name of the pod that server is of
	gates  map[string]bool
	// documents are what files say of an API server beside its flags: each fills in
	// what is not known.
	documents []inventory.APIServer
	// untold is the server that was read and does not tell its settings.
	untold string
}

// Hosts are the machines of which files tell how their kubelet is configured, each
// named like its file.
func (l *Loader) Hosts() []inventory.Host { return l.settings.hosts }

// putSettings reads a file of settings; false when it is none.
func (l *Loader) putSettings(p place, h head, body []byte) bool {
	var err error
	o := p.origin()
	if p.lines.text != nil { // it tells the lines of its settings
		o.Line, body = p.lines.first, p.lines.text
	}
	switch h.group() + " " + h.Kind {
	case "kubelet.config.k8s.io KubeletConfiguration":
		var k *inventory.Kubelet
		if k, err = settings.KubeletFile(o.Source, o.Line, body); err == nil {
			l.host(o, k, "its flags, which win over the file, are not in it")
		}
	case "audit.k8s.io Policy":
		var a *inventory.Audit
		if a, err = settings.AuditPolicy(o.Source, o.Line, body); err == nil {
			l.settings.documents = append(l.settings.documents, inventory.APIServer{AuditPolicy: a, Origin: o})
		}
	case "apiserver.config.k8s.io AuthenticationConfiguration", "apiserver.config.k8s.io AuthorizationConfiguration":
		var a *inventory.APIServer
		if a, err = settings.Structured(o.Source, o.Line, body); err == nil {
			l.settings.documents = append(l.settings.documents, *a)
		}
	default:
		return false
	}
	if err != nil {
		l.skip(o, "%s is not understood: %v", h.Kind, err)
	}
	return true
}

// bare reads what is told from its shape: what a kubelet says of itself at /configz,
// or a provider of a cluster. False when it is neither.
func (l *Loader) bare(p place, body []byte) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return false
	}
	o := p.origin()
	switch _, configz := fields["kubeletconfig"]; {
	case configz:
		k, err := settings.Configz(o.Source, o.Line, body)
		if err != nil {
			l.skip(o, "configuration of a kubelet is not understood: %v", err)
			return true
		}
		l.host(o, k, "")
	case settings.IsCloud(fields):
		a, err := settings.Cloud(o.Source, o.Line, body)
		if err != nil {
			l.skip(o, "description of a cluster is not understood: %v", err)
			return true
		}
		l.settings.documents = append(l.settings.documents, *a)
	default:
		return false
	}
	return true
}

func (l *Loader) host(o inventory.Origin, k *inventory.Kubelet, lacks string) {
	l.settings.hosts = append(l.settings.hosts, inventory.Host{Name: o.Source, Kubelet: k})
	if lacks != "" {
		l.unread = append(l.unread, inventory.Unread{
			What: inventory.PartKubelet, From: where(o), Why: lacks,
			Help: "give what the kubelet says of itself: kubectl get --raw /api/v1/nodes/NODE/proxy/configz > FILE",
		})
	}
}

// apiServerPod reads the flags of the API server whose pod this is. Of several only
// the first counts, and one that is set otherwise is noted.
func (l *Loader) apiServerPod(p place, pod *corev1.Pod) {
	process, ok := settings.OfPod(pod, p.origin())
	if !ok {
		return
	}
	s, err := settings.APIServer(process)
	if err != nil {
		l.skip(p.origin(), "API server %s is not understood: %v", pod.Name, err)
		return
	}
	f := &l.settings
	if f.server != nil {
		if !alike(f.server, s.Settings) {
			l.unread = append(l.unread, inventory.Unread{
				What: inventory.PartAPIServer, From: pod.Name, Why: "it is set otherwise than " + f.from + ", which is taken for all of them",
				Help: "start all API servers with the same flags",
			})
		}
		return
	}
	f.server, f.from, f.gates = s.Settings, pod.Name, s.Gates
	l.unread = append(l.unread, s.Unread...)
}

// alike reports whether two API servers have the same settings.
func alike(a, b *inventory.APIServer) bool {
	plain := func(s inventory.APIServer) inventory.APIServer {
		s.Set, s.Origin = nil, inventory.Origin{}
		if s.AuditPolicy != nil {
			audit := *s.AuditPolicy
			audit.Origin = inventory.Origin{}
			s.AuditPolicy = &audit
		}
		return s
	}
	return reflect.DeepEqual(plain(*a), plain(*b))
}

// Untold says why nothing is known of an API server's settings that only its machine tells.
const Untold = "the API server does not tell its own settings, and has no pod"

// apiServer puts together what pods, a snapshot and files told of the API server.
func (l *Loader) apiServer() {
	f, c := &l.settings, &l.cluster
	if f.server != nil {
		c.APIServer = f.server
		for name, on := range f.gates {
			if _, ok := c.Gates[name]; ok {
				continue // the server's own word
			}
			if c.Gates == nil {
				c.Gates = make(map[string]bool)
			}
			c.Gates[name] = on
		}
	} else if f.untold != "" {
		l.unread = append(l.unread, inventory.Unread{
			What: inventory.PartAPIServer, From: f.untold, Why: Untold, Help: "scan its machine with --from host",
		})
	}
	for i := range f.documents {
		if c.APIServer == nil {
			c.APIServer = &inventory.APIServer{Origin: f.documents[i].Origin}
		}
		l.fill(c.APIServer, &f.documents[i])
		l.objects++ // a file that tells of a cluster
	}
}

// fill adds to an API server's settings what a file says that is not known.
func (l *Loader) fill(a, d *inventory.APIServer) {
	used := false
	if d.AuditPolicy != nil && a.AuditPolicy == nil {
		a.AuditPolicy, used = d.AuditPolicy, true
		l.unread = slices.DeleteFunc(l.unread, func(u inventory.Unread) bool { return u.What == inventory.PartAudit })
	}
	if d.Anonymous != inventory.Unknown && a.Anonymous == inventory.Unknown {
		a.Anonymous, a.AnonymousPaths, used = d.Anonymous, d.AnonymousPaths, true
	}
	if len(d.Authorization) > 0 && len(a.Authorization) == 0 {
		a.Authorization, used = d.Authorization, true
	}
	if d.Public != inventory.Unknown && a.Public == inventory.Unknown {
		a.Public, a.Ranges, used = d.Public, d.Ranges, true
	}
	if d.ConfigMapAuth != inventory.Unknown && a.ConfigMapAuth == inventory.Unknown {
		a.ConfigMapAuth, used = d.ConfigMapAuth, true
	}
	if !used && (d.AuditPolicy != nil || d.Anonymous != inventory.Unknown || len(d.Authorization) > 0 || d.Public != inventory.Unknown) {
		l.skip(d.Origin, "the API server's own settings, or an earlier file, say this already; they count")
	}
}
