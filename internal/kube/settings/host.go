package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	kyaml "sigs.k8s.io/yaml"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/process"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// Part is what was read of a machine.
type Part struct {
	Kubelet   *inventory.Kubelet   // nil when it has none, or it is unknown
	APIServer *inventory.APIServer // likewise
	Files     []inventory.File
	Unread    []inventory.Unread
}

// Where a machine has them when no process tells.
const (
	usualKubelet   = "/var/lib/kubelet/config.yaml"
	usualAPIServer = "/etc/kubernetes/manifests/kube-apiserver.yaml"
)

// Host reads a machine whose root directory is root, "/" for this one: its kubelet and
// its API server by the processes that run there (pids; 0 for none that is known, when
// the usual files count), kubeconfigs and keys.
func Host(root, name string, kubelet, apiServer int) *Part {
	var p Part
	files, done, err := rootfs.Under(root)
	if err != nil {
		p.missing(inventory.PartFiles, name, err)
		return &p
	}
	defer done()
	p.kubelet(root, name, kubelet, files)
	p.apiServer(root, name, apiServer, files)
	static := ""
	if p.Kubelet != nil {
		static = p.Kubelet.StaticPods
	}
	var unread []inventory.Unread
	p.Files, unread = Files(files, static)
	p.Unread = append(p.Unread, unread...)
	return &p
}

func (p *Part) missing(part inventory.Part, from string, err error) {
	p.Unread = append(p.Unread, inventory.Unread{What: part, From: from, Why: err.Error(), Help: "scan as root on the machine, while it runs"})
}

func (p *Part) kubelet(root, name string, pid int, files fs.FS) {
	if pid == 0 {
		data, err := readFile(files, usualKubelet)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			if p.Kubelet, err = KubeletFile(usualKubelet, 1, data); err != nil {
				err = fmt.Errorf("%s: %w", usualKubelet, err)
			}
		}
		if err != nil {
			p.missing(inventory.PartKubelet, name, err)
			return
		}
		p.Kubelet.Node = name
		p.missing(inventory.PartKubelet, name, errors.New("no kubelet runs: its flags, which win over "+usualKubelet+", are not known"))
		return
	}
	process, done, err := processOf(root, pid)
	if err == nil {
		defer done()
		p.Kubelet, err = Kubelet(process)
	}
	if err != nil {
		p.missing(inventory.PartKubelet, name, err)
		return
	}
	if p.Kubelet.Node == "" {
		p.Kubelet.Node = name
	}
}

func (p *Part) apiServer(root, name string, pid int, files fs.FS) {
	var process *Process
	var err error
	if pid != 0 {
		var done func()
		if process, done, err = processOf(root, pid); err == nil {
			defer done()
		}
	} else if process, err = staticAPIServer(files); errors.Is(err, fs.ErrNotExist) {
		return
	}
	var s *Server
	if err == nil {
		s, err = APIServer(process)
	}
	if err != nil {
		p.missing(inventory.PartAPIServer, name, err)
		return
	}
	p.APIServer = s.Settings
	p.Unread = append(p.Unread, s.Unread...)
}

// staticAPIServer reads the manifest of an API server that the kubelet starts.
func staticAPIServer(files fs.FS) (*Process, error) {
	data, err := readFile(files, usualAPIServer)
	if err != nil {
		return nil, err
	}
	var pod corev1.Pod
	if err := kyaml.UnmarshalStrict(data, &pod); err != nil {
		return nil, fmt.Errorf("%s: %w", usualAPIServer, err)
	}
	p, ok := OfPod(&pod, inventory.Origin{Source: usualAPIServer, Line: 1})
	if !ok {
		return nil, errors.New(usualAPIServer + ": it has no container that runs kube-apiserver")
	}
	p.Files = mounted{files, mountsOf(&pod)}
	return p, nil
}

// processOf reads how a process was started. Its files are seen as it sees them; the
// function that it returns lets go of them.
func processOf(root string, pid int) (*Process, func(), error) {
	table := process.Table(filepath.Join(root, "proc"))
	words, err := table.CommandLine(uint32(pid))
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(string(table), strconv.Itoa(pid))
	p := Process{Args: words[1:], Origin: inventory.Origin{Source: fmt.Sprintf("command line of process %d (%s)", pid, path.Base(words[0]))}}
	if p.Directory, err = os.Readlink(filepath.Join(dir, "cwd")); err != nil {
		return nil, nil, err
	}
	at := filepath.Join(dir, "root")
	if shared, err := table.Shares(uint32(pid), "mnt"); err == nil && shared {
		at = root
	}
	var done func()
	if p.Files, done, err = rootfs.Under(at); err != nil {
		return nil, nil, err
	}
	return &p, done, nil
}
