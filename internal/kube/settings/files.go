package settings

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"path"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// What a file is whose reader, or writer, has somebody's power.
const (
	Kubeconfig = "kubeconfig"
	Key        = "private key"
	StaticPods = "static pods"
	Settings   = "settings"
)

// keyFiles are where kubeadm, k3s and others put them, as patterns of path.Match in their
// last part; those of people are in their homes.
var keyFiles = []struct{ what, pattern string }{
	{Kubeconfig, "etc/kubernetes/*.conf"},
	{Kubeconfig, "var/lib/kubelet/kubeconfig"},
	{Kubeconfig, "root/.kube/config"},
	{Kubeconfig, "etc/rancher/k3s/k3s.yaml"},
	{Key, "etc/kubernetes/pki/*.key"},
	{Key, "etc/kubernetes/pki/etcd/*.key"},
	{Key, "var/lib/kubelet/pki/*.key"},
	{Key, "var/lib/kubelet/pki/*-current.pem"},
	{StaticPods, "etc/kubernetes/manifests"},
	{StaticPods, "etc/kubernetes/manifests/*.yaml"},
	{Settings, "var/lib/kubelet/config.yaml"},
}

// Files lists the kubeconfigs, private keys, and static pods of a machine with who may
// read them, and the directories of further static pods. What cannot be looked at is
// noted; what is not there is not.
func Files(files fs.FS, staticPods ...string) ([]inventory.File, []inventory.Unread) {
	var out []inventory.File
	var unread []inventory.Unread
	seen := map[string]bool{}
	add := func(what, name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		f, err := fileOf(files, what, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unread = append(unread, inventory.Unread{What: inventory.PartFiles, From: "/" + name, Why: err.Error(), Help: "scan as root"})
		default:
			out = append(out, f)
		}
	}
	for _, k := range keyFiles {
		dir := path.Dir(k.pattern)
		if _, err := fs.ReadDir(files, dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // to a pattern it looks empty
			if !seen[dir] {
				seen[dir] = true
				unread = append(unread, inventory.Unread{What: inventory.PartFiles, From: "/" + dir, Why: err.Error(), Help: "scan as root"})
			}
			continue
		}
		names, _ := fs.Glob(files, k.pattern) // the only error is of a pattern, and these are constants
		for _, n := range names {
			add(k.what, n)
		}
	}
	homes, err := fs.ReadDir(files, "home")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		unread = append(unread, inventory.Unread{What: inventory.PartFiles, From: "/home", Why: err.Error(), Help: "scan as root"})
	}
	for _, h := range homes { // asked one by one: a pattern passes over those that are closed
		add(Kubeconfig, path.Join("home", h.Name(), ".kube/config"))
	}
	for _, dir := range staticPods {
		if dir != "" {
			add(StaticPods, rootfs.Inside(dir))
		}
	}
	return out, unread
}

func fileOf(files fs.FS, what, name string) (inventory.File, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return inventory.File{}, err
	}
	f := inventory.File{What: what, Path: "/" + name, Mode: uint32(info.Mode().Perm())}
	var ok bool
	if f.UID, f.GID, ok = owner(info); !ok {
		return f, errors.New("its owner is not known")
	}
	if what == Kubeconfig {
		if data, err := readFile(files, name); err == nil {
			f.Actor = actorOf(files, name, data)
		}
	}
	return f, nil
}

// actorOf names whose power the reader of a kubeconfig has, by the certificate of its
// current context's user; "" where there is none.
func actorOf(files fs.FS, name string, data []byte) string {
	c, err := clientcmd.Load(data)
	if err != nil {
		return ""
	}
	context := c.Contexts[c.CurrentContext]
	if context == nil {
		return ""
	}
	user := c.AuthInfos[context.AuthInfo]
	if user == nil {
		return ""
	}
	cert := user.ClientCertificateData // it comes before the file
	if file := user.ClientCertificate; file != "" && len(cert) == 0 {
		if !path.IsAbs(file) {
			file = path.Join("/", path.Dir(name), file)
		}
		if cert, err = readFile(files, file); err != nil {
			return ""
		}
	}
	return subjectOf(cert)
}

// subjectOf names the user of the first certificate in PEM.
func subjectOf(data []byte) string {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return ""
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil || c.Subject.CommonName == "" {
			return ""
		}
		return "user:" + c.Subject.CommonName
	}
}
