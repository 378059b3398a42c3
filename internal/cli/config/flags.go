package config

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/kernel"
)

// RoleFlags adds the flags that say what part this host plays among several.
func RoleFlags(f *pflag.FlagSet) {
	f.String("node", "", "send observations to the collector at `ADDR` (host:port) and keep no sessions here")
	f.String("node-cert", "", "certificate `FILE` of this node")
	f.String("node-key", "", "private key `FILE` of this node")
	f.String("collector-ca", "", "`FILE` with the authority of the collector's certificate")
	f.String("node-name", "", "refuse to start unless the certificate is that of `NAME`")
	f.String("node-spool", "", "let up to `SIZE` wait on disk for the collector (default 1GiB)")
	f.String("collect", "", "take the observations of nodes at `ADDR` (host:port)")
	f.String("collect-cert", "", "certificate `FILE` of this collector")
	f.String("collect-key", "", "private key `FILE` of this collector")
	f.String("collect-ca", "", "`FILE` with the authority of the nodes' certificates")
}

// WatchFlags adds the flags that say what is watched.
func WatchFlags(f *pflag.FlagSet) {
	f.String("docker", "", "Docker's `ADDR`: socket path, unix:///path or tcp://host:port (default DOCKER_HOST or the usual sockets)")
	f.String("containerd", "", "`PATH` of containerd's socket (default: the one that the Docker daemon uses)")
	f.String("crio", "", "`PATH` of CRI-O's socket (default "+containerd.UsualCRIO+")")
	f.String("gate", "", "follow the socket gate that is pinned in `DIR`, when there is one (default "+kernel.GateDir+")")
	f.String("audit-log", "", "read the audit log that a kube-apiserver writes to `FILE`")
	f.String("audit-webhook", "", "receive audit events from a kube-apiserver on `ADDR`, host:port, with TLS (see sallyport kube audit-webhook)")
	f.String("admission", "", "serve the admission webhook on `ADDR`, HOST:PORT; see sallyport kube webhook-config")
	f.String("admission-names", "", "`NAMES` under which the API server reaches the webhook, with commas between (default: the address)")
	f.String("admission-client-ca", "", "`FILE` of the authorities whose client certificates the webhook asks for")
	f.String("kubeconfig", "", "ask the API server about pods by `FILE`, or in-cluster; see sallyport kube rbac")
	f.String("kube-node", "", "ask only about the pods of node `NAME`")
	f.String("client-requests", "", "`WHEN` to read what Docker clients ask: auto, always or off (default auto)")
}

// Load returns the configuration: defaults, then the file, then the flags.
func Load(env *terminal.Env, file string, flags *pflag.FlagSet) (Config, error) {
	c := Default(env)
	if file != "" {
		if err := c.read(file); err != nil {
			return c, &exit.Error{Code: exit.Usage, Err: fmt.Errorf("configuration: %w", err)}
		}
	}
	for _, s := range settings {
		name := s.flag()
		flag := flags.Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		if err := s.set(&c, flag.Value.String()); err != nil {
			return c, exit.Fail(exit.Usage, "", "--%s %q: %w", name, flag.Value.String(), err)
		}
	}
	return c, nil
}
