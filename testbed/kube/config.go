//go:build linux

package kube

import (
	"cmp"
	"fmt"
	"path/filepath"
)

// kubeletSysctls are what a kubelet changes for the whole machine.
var kubeletSysctls = []string{
	"vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops",
	"kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes",
}

// containerdConfig is for containerd 1.6 and, because it keeps reading version
// 2, for 2.x. A machine without CAP_SYS_RESOURCE cannot give a sandbox the
// negative oom_score_adj that the kubelet asks for.
func (n *Node) containerdConfig() []byte {
	return fmt.Appendf(nil, `version = 2
root = %[1]q
state = %[2]q
[grpc]
  address = %[3]q
[ttrpc]
  address = %[4]q
[plugins."io.containerd.internal.v1.opt"]
  path = %[5]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[6]q
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = %[7]q
      BinaryName = %[9]q
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %[8]q
`, filepath.Join(n.Dir, "root"), filepath.Join(n.Dir, "state"), n.Socket, n.Socket+".ttrpc",
		filepath.Join(n.Dir, "opt"), pauseImage, filepath.Join(n.Dir, "runc"), filepath.Join(n.Dir, "cni"), n.opts.OCIRuntime)
}

// podNetwork is named for the cluster: the library of the plugins keeps a file
// of that name for each pod outside of Dir. CRI-O would have the plugin check what it
// did, and Debian's then misses routes that are there.
func (n *Node) podNetwork() []byte {
	return fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": "%s-%s", "disableCheck": true, "plugins": [{"type": "ptp", "ipam": {
"type": "host-local", "dataDir": %q, "subnet": %q,
"routes": [{"dst": %q}, {"dst": %q}, {"dst": %q}]}}]}
`, filepath.Base(n.cluster.Dir), n.Name, filepath.Join(n.Dir, "addresses"), podSubnet(n.index), services, hosts, pods)
}

// kubeletConfig keeps the kubelet off the rest of the machine. It forgets an
// answer of the API server after a second, so that each use of the kubelet
// shows in the audit log.
func (n *Node) kubeletConfig() []byte {
	return fmt.Appendf(nil, `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /%[1]s
enforceNodeAllocatable: []
oomScoreAdj: 0
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: 1%%, nodefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
containerRuntimeEndpoint: unix://%[2]s
podLogsDir: %[3]s
staticPodPath: %[4]s
volumePluginDir: %[5]s
fileCheckFrequency: 1s
resolvConf: ""
port: %[6]d
healthzPort: 0
tlsCertFile: %[7]s.crt
tlsPrivateKeyFile: %[7]s.key
authentication:
  anonymous: {enabled: %[8]t}
  webhook: {enabled: true, cacheTTL: 1s}
  x509: {clientCAFile: %[9]s}
authorization:
  mode: %[10]s
  webhook: {cacheAuthorizedTTL: 1s, cacheUnauthorizedTTL: 1s}
`, n.cgroup(), cmp.Or(n.opts.Runtime, n.Socket), n.PodLogs, n.StaticPods, filepath.Join(n.Dir, "volume-plugins"),
		KubeletPort, filepath.Join(n.Dir, "kubelet"), n.opts.Anonymous, n.cluster.CA, cmp.Or(n.opts.Authorization, "Webhook"))
}
