package containerd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport/sallyport/internal/core/event"
)

// The names under which containerd's CRI and the kubelet keep what a container
// is: labels of the container, annotations of its OCI specification and
// extensions of its record (containerd 1.6 and 2.x, pkg/cri).
const (
	labelKind      = "io.cri-containerd.kind" // "sandbox" or "container"
	labelPod       = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelUID       = "io.kubernetes.pod.uid"
	labelName      = "io.kubernetes.container.name"

	annotationKind      = "io.kubernetes.cri.container-type"
	annotationName      = "io.kubernetes.cri.container-name"
	annotationPod       = "io.kubernetes.cri.sandbox-name"
	annotationNamespace = "io.kubernetes.cri.sandbox-namespace"
	annotationUID       = "io.kubernetes.cri.sandbox-uid"
	annotationSandbox   = "io.kubernetes.cri.sandbox-id"
	annotationImage     = "io.kubernetes.cri.image-name"

	extensionContainer = "io.cri-containerd.container.metadata"
	extensionSandbox   = "io.cri-containerd.sandbox.metadata"

	kindSandbox = "sandbox"
)

// Bounds on what is kept of one container.
const (
	argsMax = 4096
	textMax = 4 << 10 // an image, a runtime's name; containerd bounds a label with its key to 4096
)

// ociSpec is what of an OCI runtime specification is of use.
type ociSpec struct {
	Process struct {
		Args         []string `json:"args"`
		Terminal     bool     `json:"terminal"`
		Capabilities struct {
			Bounding []string `json:"bounding"`
		} `json:"capabilities"`
	} `json:"process"`
	Mounts []struct {
		Type    string   `json:"type"`
		Source  string   `json:"source"`
		Options []string `json:"options"`
	} `json:"mounts"`
	Linux *struct {
		Namespaces []ociNamespace `json:"namespaces"`
		Devices    []struct {
			Path string `json:"path"`
		} `json:"devices"`
		Resources struct {
			Devices []ociDeviceRule `json:"devices"`
		} `json:"resources"`
	} `json:"linux"`
	Annotations map[string]string `json:"annotations"`
}

type ociNamespace struct {
	Type string `json:"type"`
	Path string `json:"path"`
}

type ociDeviceRule struct {
	Allow  bool   `json:"allow"`
	Type   string `json:"type"`
	Access string `json:"access"`
	Major  *int64 `json:"major"`
}

// criMetadata is what of CRI's record of a container or sandbox is of use.
type criMetadata struct {
	Metadata struct {
		SandboxID string
		Config    struct {
			Metadata struct {
				Name    string `json:"name"`
				Attempt int    `json:"attempt"`
			} `json:"metadata"`
			Mounts []struct {
				HostPath string `json:"host_path"`
			} `json:"mounts"`
			Devices []struct {
				HostPath string `json:"host_path"`
			} `json:"devices"`
			Linux *struct {
				Security struct {
					Privileged   bool `json:"privileged"`
					Capabilities struct {
						Add []string `json:"add_capabilities"`
					} `json:"capabilities"`
					Namespaces struct {
						Network int `json:"network"`
						PID     int `json:"pid"`
						IPC     int `json:"ipc"`
					} `json:"namespace_options"`
				} `json:"security_context"`
			} `json:"linux"`
		}
	}
}

// DescribeBundle says what a container is whose config.json, of OCI's runtime
// specification, is at hand and containerd's record is not.
func DescribeBundle(asked time.Time, namespace string, id event.ContainerID, config []byte) (event.RuntimeContainer, error) {
	return describe(asked, namespace, &containersapi.Container{ID: string(id), Spec: &anypb.Any{Value: config}})
}

// describe turns containerd's record of a container into an observation. What
// of it is not understood is left out: an id with a name is worth having also
// without its argv.
func describe(asked time.Time, namespace string, c *containersapi.Container) (event.RuntimeContainer, error) {
	if !plausible(namespace, c.GetID()) {
		return event.RuntimeContainer{}, fmt.Errorf("describe container %.100q: empty or oversized id", c.GetID())
	}
	var spec ociSpec
	specErr := json.Unmarshal(c.GetSpec().GetValue(), &spec)
	labels, notes := c.GetLabels(), spec.Annotations
	meta, metaErr := cri(c)
	kind := cmp.Or(labels[labelKind], notes[annotationKind])
	d := event.RuntimeContainer{
		Header: header(asked), Namespace: namespace, ID: event.ContainerID(c.GetID()),
		Image: short(cmp.Or(c.GetImage(), notes[annotationImage])), Runtime: short(c.GetRuntime().GetName()),
		Name:         short(cmp.Or(labels[labelName], notes[annotationName])),
		Pod:          short(cmp.Or(labels[labelPod], notes[annotationPod])),
		PodNamespace: short(cmp.Or(labels[labelNamespace], notes[annotationNamespace])),
		PodUID:       short(cmp.Or(labels[labelUID], notes[annotationUID])),
		Sandbox:      kind == kindSandbox,
		SandboxID:    event.ContainerID(short(cmp.Or(notes[annotationSandbox], meta.Metadata.SandboxID, c.GetSandbox()))),
		Attempt:      meta.Metadata.Config.Metadata.Attempt,
		Argv:         spec.Process.Args[:min(len(spec.Process.Args), argsMax)],
		TTY:          spec.Process.Terminal,
	}
	if d.Sandbox {
		d.Name, d.SandboxID = "", d.ID
	}
	if !d.Sandbox { // nobody's command runs in it
		if d.HostAccess = meta.access(&d, metaErr); d.HostAccess == nil {
			d.HostAccess = spec.access(&d, specErr)
		}
	}
	if n, err := strconv.Atoi(labels["io.kubernetes.container.restartCount"]); err == nil && d.Attempt == 0 {
		d.Attempt = n
	}
	if t := c.GetCreatedAt(); t.IsValid() && t.GetSeconds() > 0 {
		d.Created = t.AsTime().UTC()
	}
	return d, nil
}

// cri returns CRI's own record, the zero value where there is none. An error says that
// some of its fields are not as they should be: the others are there.
func cri(c *containersapi.Container) (m criMetadata, err error) {
	for _, name := range []string{extensionContainer, extensionSandbox} {
		ext, ok := c.GetExtensions()[name]
		if !ok {
			continue
		}
		m = criMetadata{}
		var odd *json.UnmarshalTypeError
		if err = json.Unmarshal(ext.GetValue(), &m); err == nil || errors.As(err, &odd) {
			return m, err
		}
	}
	return criMetadata{}, nil
}

func short(s string) string { return s[:min(len(s), textMax)] }

// usual are the paths where containerd's socket usually is: a containerd of its
// own, k3s's, and the one that Docker runs for itself.
var usual = []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"}

// Usual returns the paths where containerd's socket usually is.
func Usual() []string { return slices.Clone(usual) }
