package settings

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

const apiServerName = "kube-apiserver"

// OfPod tells how the API server is started whose pod this is; false for any other
// pod. It has no files: those that its flags name are on its node.
func OfPod(pod *corev1.Pod, origin inventory.Origin) (*Process, bool) {
	if pod.Namespace != "kube-system" || !strings.HasPrefix(pod.Name, apiServerName) {
		return nil, false
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		words := append(append([]string{}, c.Command...), c.Args...)
		if len(words) > 0 && path.Base(words[0]) == apiServerName {
			return &Process{Args: words[1:], Directory: c.WorkingDir, Origin: origin}, true
		}
	}
	return nil, false
}

// mount is a path of the machine that a container has somewhere else.
type mount struct{ inside, outside string }

// mountsOf are the paths of its machine that the API server's container has.
func mountsOf(pod *corev1.Pod) []mount {
	host := map[string]string{}
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil {
			host[v.Name] = v.HostPath.Path
		}
	}
	var out []mount
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if at, ok := host[m.Name]; ok {
				out = append(out, mount{rootfs.Inside(m.MountPath), rootfs.Inside(path.Join(at, m.SubPath))})
			}
		}
	}
	return out
}

// mounted are the files of a container that are its machine's: all others are in its
// image, and not there.
type mounted struct {
	fs.FS
	mounts []mount
}

// Open implements fs.FS.
func (m mounted) Open(name string) (fs.File, error) {
	to, err := m.outside("open", name)
	if err != nil {
		return nil, err
	}
	return m.FS.Open(to)
}

// Stat implements fs.StatFS.
func (m mounted) Stat(name string) (fs.FileInfo, error) {
	to, err := m.outside("stat", name)
	if err != nil {
		return nil, err
	}
	return fs.Stat(m.FS, to)
}

// outside is where the machine has a path of the container, by its innermost mount.
func (m mounted) outside(op, name string) (string, error) {
	best, to := -1, ""
	for _, x := range m.mounts {
		if rest, ok := strings.CutPrefix(name, x.inside); ok && (rest == "" || rest[0] == '/') && len(x.inside) > best {
			best, to = len(x.inside), rootfs.Inside(path.Join(x.outside, rest))
		}
	}
	if best < 0 {
		return "", &fs.PathError{Op: op, Path: name, Err: errors.New("in the container's image, which is not looked into")}
	}
	return to, nil
}
