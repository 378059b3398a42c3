package hostrules

import (
	"strings"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

var byCommand = []attack.Technique{attack.T1609}

// rules are the checks. Those up to 019 are of the host and the daemon, those from
// 020 on of containers.
var rules = []check{
	{posture.Rule{
		ID: "SP-DKR-001", Severity: finding.Critical, Title: "Docker API by TCP without verified clients", Attack: byCommand, CIS: []string{"docker 2.7"},
		Remedy: `take the tcp:// address out of "hosts" and the flags, or set "tlsverify": true with tlscacert, tlscert and tlskey in daemon.json`,
	}, ports},
	{posture.Rule{
		ID: "SP-DKR-002", Severity: finding.Critical, Title: "runtime socket that everybody may use", Attack: byCommand, CIS: []string{"docker 3.16", "docker 3.24"},
		Remedy: "chmod 0660 the socket, and set SocketMode=0660 in docker.socket",
	}, sockets},
	{posture.Rule{
		ID: "SP-DKR-003", Severity: finding.High, Title: "runtime socket of somebody else than root", Attack: byCommand, CIS: []string{"docker 3.15", "docker 3.23"},
		Remedy: "chown root the socket, setfacl -b it",
	}, socketOwners},
	{posture.Rule{
		ID: "SP-DKR-004", Severity: finding.Medium, Title: "members of a group that may use a runtime socket are root", Attack: byCommand, CIS: []string{"docker 1.1.2"},
		Remedy: "gpasswd -d USER GROUP; usermod -g for whose primary group it is",
	}, groups},
	{posture.Rule{
		ID: "SP-DKR-005", Severity: finding.Medium, Title: "sudo rule that leads into containers", Attack: byCommand,
		Remedy: "visudo: name the commands with all their arguments, and none that runs another",
	}, sudo},
	{posture.Rule{
		ID: "SP-DKR-006", Severity: finding.Low, Title: "no authorization plugin", Attack: byCommand, CIS: []string{"docker 2.12"},
		Remedy: `set "authorization-plugins" in daemon.json, or let only a proxy at the socket`,
	}, daemon(func(r *report, d *inventory.Docker) {
		switch {
		case d.Version == "" && len(d.AuthzPlugins) == 0:
			r.unknown("docker/authz", "whether the Docker daemon has an authorization plugin could not be found out")
		case len(d.AuthzPlugins) == 0:
			r.add("docker/authz", "whoever may use the Docker API may do everything: no authorization plugin is set")
		}
	})},
	{posture.Rule{
		ID: "SP-DKR-007", Severity: finding.Low, Title: "root in containers is root on the host", Attack: byCommand, CIS: []string{"docker 2.9", "docker 2.1"},
		Remedy: `set "userns-remap": "default" in daemon.json, or run the daemon rootless`,
	}, daemon(func(r *report, d *inventory.Docker) {
		if d.Rootless != inventory.Yes {
			r.setting("user_ns", d.UserNS, inventory.Yes, "the Docker daemon gives containers no user namespace")
		}
	})},
	{posture.Rule{
		ID: "SP-DKR-008", Severity: finding.Low, Title: "no-new-privileges is off by default", Attack: byCommand, CIS: []string{"docker 2.14"},
		Remedy: `set "no-new-privileges": true in daemon.json`,
	}, daemon(func(r *report, d *inventory.Docker) {
		r.setting("no_new_privileges", d.NoNewPrivs, inventory.Yes, "containers may gain privileges by setuid programs unless they are started otherwise")
	})},
	{posture.Rule{
		ID: "SP-DKR-009", Severity: finding.Medium, Title: "no seccomp profile by default", Attack: byCommand, CIS: []string{"docker 2.17"},
		Remedy: `take "seccomp-profile": "unconfined" out of daemon.json, or run a kernel with seccomp`,
	}, daemon(seccomp)},
	{posture.Rule{
		ID: "SP-DKR-010", Severity: finding.Low, Title: "neither AppArmor nor SELinux", Attack: byCommand, CIS: []string{"docker 5.2", "docker 5.3"},
		Remedy: `boot with AppArmor, or set "selinux-enabled": true in daemon.json`,
	}, daemon(confined)},
	{posture.Rule{
		ID: "SP-DKR-011", Severity: finding.Info, Title: "live-restore is off", Attack: byCommand, CIS: []string{"docker 2.15"},
		Remedy: `set "live-restore": true in daemon.json`,
	}, daemon(func(r *report, d *inventory.Docker) {
		r.setting("live_restore", d.LiveRestore, inventory.Yes, "containers end when the Docker daemon does, which keeps it from being updated")
	})},
	{posture.Rule{
		ID: "SP-DKR-012", Severity: finding.Low, Title: "swarm mode is on", Attack: byCommand, CIS: []string{"docker 5.1"},
		Remedy: "docker swarm leave, where it is not needed",
	}, daemon(func(r *report, d *inventory.Docker) {
		r.setting("swarm", d.Swarm, inventory.No, "a manager of the swarm runs commands on this host")
	})},
	{posture.Rule{
		ID: "SP-DKR-013", Severity: finding.Medium, Title: "what the daemon was told does not agree", Attack: byCommand,
		Remedy: "say it in one place, and restart the daemon",
	}, daemon(disagree)},
	{posture.Rule{
		ID: "SP-DKR-020", Severity: finding.Critical, Title: "container with a runtime's socket", Attack: byCommand, CIS: []string{"docker 5.32"},
		Remedy: "start it without the mount; give it a proxy's socket that lets through what it needs",
	}, each(mountedSockets)},
	{posture.Rule{
		ID: "SP-DKR-021", Severity: finding.High, Title: "privileged container", Attack: byCommand, CIS: []string{"docker 5.5"},
		Remedy: "start it without --privileged, with the devices and capabilities that it needs",
	}, each(func(r *report, c *inventory.DockerOrCRI) {
		if c.Privileged {
			r.container(c, "", "is privileged: whoever runs a command in it is root on the host")
		}
	})},
	{posture.Rule{
		ID: "SP-DKR-022", Severity: finding.Medium, Title: "container with a namespace of the host's", Attack: byCommand, CIS: []string{"docker 5.10", "docker 5.16", "docker 5.17", "docker 5.31"},
		Remedy: "start it without --pid, --ipc, --network or --userns host",
	}, each(namespaces)},
	{posture.Rule{
		ID: "SP-DKR-023", Severity: finding.Medium, Title: "container with more capabilities than usual", Attack: byCommand, CIS: []string{"docker 5.4"},
		Remedy: "start it with --cap-drop ALL and those that it needs",
	}, each(capabilities)},
	{posture.Rule{
		ID: "SP-DKR-024", Severity: finding.High, Title: "container that gives root on the host", Attack: byCommand, CIS: []string{"docker 5.6"},
		Remedy: "start it without what is named, or mount it read-only",
	}, each(escapes)},
	{posture.Rule{
		ID: "SP-DKR-025", Severity: finding.Medium, Title: "container with devices of the host's", Attack: byCommand, CIS: []string{"docker 5.18"},
		Remedy: "start it without --device",
	}, each(func(r *report, c *inventory.DockerOrCRI) {
		if len(c.Devices) > 0 {
			r.container(c, "", "has "+strings.Join(c.Devices, ", "))
		}
	})},
	{posture.Rule{
		ID: "SP-DKR-026", Severity: finding.Low, Title: "container that runs as root", Attack: byCommand, CIS: []string{"docker 4.1"},
		Remedy: "start it with --user, or name a USER in its image",
	}, each(asRoot)},
	{posture.Rule{
		ID: "SP-DKR-027", Severity: finding.Info, Title: "container with a root file system that can be written", Attack: byCommand, CIS: []string{"docker 5.13"},
		Remedy: "start it with --read-only, and --tmpfs for what it writes",
	}, each(func(r *report, c *inventory.DockerOrCRI) {
		if !c.ReadOnlyRoot {
			r.container(c, "", "can write to its root file system")
		}
	})},
	{posture.Rule{
		ID: "SP-DKR-028", Severity: finding.Medium, Title: "container without seccomp", Attack: byCommand, CIS: []string{"docker 5.22"},
		Remedy: "start it without --security-opt seccomp=unconfined",
	}, each(unconfined)},
	{posture.Rule{
		ID: "SP-DKR-029", Severity: finding.Low, Title: "container that may gain privileges", Attack: byCommand, CIS: []string{"docker 5.26"},
		Remedy: "start it with --security-opt no-new-privileges",
	}, each(escalation)},
}
