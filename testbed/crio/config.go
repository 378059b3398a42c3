//go:build linux

package crio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/crio/release"
)

// config keeps everything of CRI-O's in one directory, which is %[1]s. conmon lives in
// the cgroup of its pod because there is no systemd to give it another. A container
// for the pod itself would need CAP_SYS_RESOURCE: a pod whose containers have each
// their own processes, as Kubernetes' do, goes without. Sockets for attaching have long
// names.
const config = `[crio]
root = "%[1]s/data"
runroot = "%[1]s/x"
storage_driver = "vfs"
log_dir = "%[1]s/logs"
version_file = "%[1]s/version"
version_file_persist = "%[1]s/version.kept"
clean_shutdown_file = "%[1]s/clean"
[crio.api]
listen = %[2]q
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
default_runtime = "runc"
drop_infra_ctr = true
enable_criu_support = false
hooks_dir = []
cdi_spec_dirs = []
decryption_keys_path = ""
irqbalance_config_restore_file = "disable"
namespaces_dir = "%[1]s/ns"
pinns_path = %[3]q
container_exits_dir = "%[1]s/exits"
container_attach_socket_dir = "%[1]s/a"
[crio.runtime.runtimes.runc]
runtime_path = %[4]q
runtime_root = "%[1]s/runc"
monitor_path = %[5]q
monitor_cgroup = "pod"
[crio.image]
pause_image = %[6]q
pause_command = ""
signature_policy = "%[1]s/policy.json"
signature_policy_dir = "%[1]s/policies"
[crio.network]
network_dir = %[7]q
plugin_dirs = ["/usr/lib/cni"]
[crio.nri]
enable_nri = false
`

// runtime is runc without limits on huge pages: CRI-O asks for them wherever the kernel
// knows that controller, and here it may be mounted nowhere.
const runtime = `#!/bin/sh
for a; do
	[ "$before" != --bundle ] || sed -i 's/"hugepageLimits"/"ignored"/' "$a/config.json"
	before=$a
done
exec %s "$@"
`

// policy has CRI-O take the images that it finds.
const policy = `{"default": [{"type": "insecureAcceptAnything"}]}`

// configure writes what CRI-O reads, and returns its path.
func (r *Runtime) configure(network string) (string, error) {
	runc, err := testbed.LookPath("runc")
	if err != nil {
		return "", err
	}
	conmon, err := testbed.LookPath("conmon")
	if err != nil {
		return "", err
	}
	file, wrapper := r.path("crio.conf"), r.path("runtime")
	text := fmt.Appendf(nil, config, r.Dir, r.Socket, filepath.Join(r.programs, release.Pinns), wrapper, conmon, Image, network)
	return file, errors.Join(
		os.WriteFile(file, text, 0o644),
		os.WriteFile(wrapper, fmt.Appendf(nil, runtime, runc), 0o755),
		os.WriteFile(r.path("policy.json"), []byte(policy), 0o644),
	)
}
