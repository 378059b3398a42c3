package door

import (
	"encoding/json"

	"github.com/moby/moby/api/types/container"
)

// The bodies of Podman's own API, as far as they say which command is run or what a
// container is given. What they have besides and that is harmless is listed by path;
// whatever else has a value is refused, as in Docker's bodies: env_host, init_path,
// conmon_pid_file, chroot_directories, devices_from, dependencyContainers and what
// later versions bring. Source: podman, pkg/specgen (4.3.1, and 5.8.0 for what is new).
var (
	libpodCreate = &schema{
		new: func() any { return new(specGenerator) },
		harmless: append([]string{
			"httpproxy", "stop_signal", "stop_timeout", "timeout", "raw_image_name", "image_os", "image_arch", "image_variant",
			"restart_policy", "restart_tries", "systemd", "sdnotifyMode", "hostname", "hostusers", "remove", "removeImage",
			"containerCreateCommand", "timezone", "init_container_type", "personality", "manage_password", "passwd_entry", "group_entry",
			"image_volume_mode", "init", "image_volumes", "shm_size", "shm_size_systemd", "create_working_dir", "storage_opts",
			"rootfs_propagation", "rootfs_overlay", "secrets", "volatile", "groups", "cap_drop", "idmappings", "read_only_filesystem",
			"read_write_tmpfs", "umask", "portmappings", "publish_image_ports", "expose", "Networks", "cni_networks",
			"use_image_resolve_conf", "dns_server", "dns_search", "dns_option", "use_image_hosts", "use_image_hostname", "hostadd",
			"network_options", "r_limits", "oom_score_adj", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice",
			"throttleReadIOPSDevice", "throttleWriteIOPSDevice", "unified", "cpu_period", "cpu_quota", "health_check_on_failure_action",
			"healthMaxLogCount", "healthMaxLogSize", "label_nested",
		}, limits("resource_limits.")...),
	}
	libpodPod = &schema{
		new: func() any { return new(podSpecGenerator) },
		harmless: append([]string{
			"hostname", "exit_policy", "restart_policy", "restart_tries", "infra_name", "shared_namespaces", "share_parent",
			"pod_create_command", "portmappings", "cni_networks", "Networks", "no_manage_resolv_conf", "dns_server", "dns_search", "dns_option",
			"no_manage_hosts", "no_manage_hostname", "hostadd", "network_options", "image_volumes", "shm_size", "shm_size_systemd", "cpu_period",
			"cpu_quota", "throttleReadBpsDevice", "idmappings",
		}, limits("resource_limits.")...),
	}
	libpodUpdate = &schema{new: func() any { return new(linuxResources) }, harmless: limits("")}
	libpodVolume = &schema{
		new:      func() any { return new(volumeCreate) },
		harmless: []string{"Label", "Labels", "IgnoreIfExists", "UID", "GID"},
	}
	// libpodExecStart is Docker's; h and w are what Docker's has in ConsoleSize.
	libpodExecStart = &schema{new: func() any { return new(container.ExecStartRequest) }, harmless: []string{"h", "w"}}
)

// limits are the members of the runtime specification's LinuxResources but devices.
func limits(at string) []string {
	var out []string
	for _, l := range []string{"memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified"} {
		out = append(out, at+l)
	}
	return out
}

// specGenerator asks for a container.
type specGenerator struct {
	Name             string            `json:"name"`
	Pod              string            `json:"pod"`
	Entrypoint       []string          `json:"entrypoint"`
	Command          []string          `json:"command"`
	Env              map[string]string `json:"env"`
	EnvMerge         []string          `json:"envmerge"`
	UnsetEnv         []string          `json:"unsetenv"`
	UnsetEnvAll      bool              `json:"unsetenvall"`
	EnvSecrets       map[string]string `json:"secret_env"`
	Terminal         bool              `json:"terminal"`
	Stdin            bool              `json:"stdin"`
	Labels           map[string]string `json:"labels"`
	Annotations      map[string]string `json:"annotations"`
	OCIRuntime       string            `json:"oci_runtime"`
	LogConfiguration struct {
		Driver  string            `json:"driver"`
		Path    string            `json:"path"`
		Size    json.Number       `json:"size"`
		Options map[string]string `json:"options"`
	} `json:"log_configuration"`
	PidNS    namespace         `json:"pidns"`
	UtsNS    namespace         `json:"utsns"`
	IpcNS    namespace         `json:"ipcns"`
	UserNS   namespace         `json:"userns"`
	NetNS    namespace         `json:"netns"`
	CgroupNS namespace         `json:"cgroupns"`
	Sysctl   map[string]string `json:"sysctl"`

	Image   string `json:"image"`
	Rootfs  string `json:"rootfs"`
	WorkDir string `json:"work_dir"`
	mountsOf
	Devices []struct {
		Path string `json:"path"` // as of the command line, HOST[:CONTAINER[:PERMISSIONS]]
	} `json:"devices"`
	DeviceCgroupRule []deviceRule `json:"device_cgroup_rule"`

	Privileged         bool     `json:"privileged"`
	User               string   `json:"user"`
	CapAdd             []string `json:"cap_add"`
	SelinuxOpts        []string `json:"selinux_opts"`
	ApparmorProfile    string   `json:"apparmor_profile"`
	SeccompPolicy      string   `json:"seccomp_policy"`
	SeccompProfilePath string   `json:"seccomp_profile_path"`
	NoNewPrivileges    bool     `json:"no_new_privileges"`
	ProcOpts           []string `json:"procfs_opts"`
	Mask               []string `json:"mask"`
	Unmask             []string `json:"unmask"`

	CgroupParent         string          `json:"cgroup_parent"`
	CgroupsMode          string          `json:"cgroups_mode"`
	ResourceLimits       *linuxResources `json:"resource_limits"`
	HealthConfig         *health         `json:"healthconfig"`
	StartupHealthConfig  *health         `json:"startupHealthConfig"`
	HealthLogDestination string          `json:"healthLogDestination"`
}

// podSpecGenerator asks for a pod, and its first container.
type podSpecGenerator struct {
	Name         string            `json:"name"`
	Labels       map[string]string `json:"labels"`
	NoInfra      bool              `json:"no_infra"`
	InfraCommand []string          `json:"infra_command"`
	InfraImage   string            `json:"infra_image"`
	PidNS        namespace         `json:"pidns"`
	UserNS       namespace         `json:"userns"`
	UtsNS        namespace         `json:"utsns"`
	IpcNS        namespace         `json:"ipcns"`
	NetNS        namespace         `json:"netns"`
	Sysctl       map[string]string `json:"sysctl"`
	mountsOf
	Devices        []string        `json:"pod_devices"`
	CgroupParent   string          `json:"cgroup_parent"`
	SecurityOpt    []string        `json:"security_opt"`
	ResourceLimits *linuxResources `json:"resource_limits"`
}

// mountsOf are what is mounted into a container, or into those of a pod.
type mountsOf struct {
	VolumesFrom []string   `json:"volumes_from"`
	Mounts      []ociMount `json:"mounts"`
	Volumes     []struct {
		Name        string
		Dest        string
		Options     []string
		IsAnonymous bool
		SubPath     string
	} `json:"volumes"`
	OverlayVolumes []struct {
		Destination string   `json:"destination"`
		Source      string   `json:"source"`
		Options     []string `json:"options"`
	} `json:"overlay_volumes"`
}

// ociMount is one of the runtime specification's.
type ociMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options"`
}

// namespace says whose a namespace is.
type namespace struct {
	Mode  string `json:"nsmode"`
	Value string `json:"value"`
}

// deviceRule is one of the device cgroup's.
type deviceRule struct {
	Allow  bool   `json:"allow"`
	Type   string `json:"type"`
	Major  *int64 `json:"major"`
	Minor  *int64 `json:"minor"`
	Access string `json:"access"`
}

// linuxResources are limits, which are harmless, and devices.
type linuxResources struct {
	Devices []deviceRule `json:"devices"`
}

// health is a check that runs by itself.
type health struct {
	Test                                          []string
	Interval, Timeout, StartPeriod, StartInterval json.Number
	Retries, Successes                            json.Number
}

// volumeCreate asks for a volume.
type volumeCreate struct {
	Name    string
	Driver  string
	Options map[string]string
}
