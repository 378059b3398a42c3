package door_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/testbed/docker"
)

// TestSettings: what a request asks for besides its command can be asked about, when
// a container or an exec is created and, of what was created beside the door, when it
// is started.
func TestSettings(t *testing.T) {
	e := docker.Shared(t)
	box := e.RunT(t, "--name", "door-settings", "--ipc", "shareable", docker.Image)
	for _, args := range [][]string{
		{"volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "door-settings-etc"},
		{"create", "--name", "door-settings-hands-on", "--volume", "door-settings-etc:/e", docker.Image},
	} {
		if out, err := docker.Output(e.CLI(t.Context(), args...)); err != nil {
			t.Fatal(out, err)
		}
	}
	t.Cleanup(func() {
		_ = e.Remove(context.Background(), "door-settings-hands-on")
		_ = e.CLI(context.Background(), "volume", "rm", "door-settings-etc").Run()
	})
	e.RunT(t, "--name", "door-settings-handed", "--volumes-from", "door-settings-hands-on", docker.Image)
	d := open(t, e, strings.ReplaceAll(`
version: 1
default: allow
rules:
  - {id: dir, when: 'session.settings.dir.like("/etc*")', effect: deny, severity: high}
  - {id: variable, when: '"TOKEN" in session.settings.variables', effect: deny, severity: high}
  - {id: security, when: 'session.settings.security.exists(o, o.endsWith("=unconfined") || o == "label=disable")', effect: deny, severity: high}
  - {id: sysctl, when: 'session.settings.sysctls.exists(s, s.startsWith("kernel."))', effect: deny, severity: high}
  - {id: device-rule, when: 'session.settings.device_rules.size() > 0', effect: deny, severity: high}
  - {id: cgroup, when: 'has(session.settings.cgroup_parent)', effect: deny, severity: high}
  - {id: joined, when: 'session.settings.joined.exists(j, j.endsWith(":BOX"))', effect: deny, severity: high}
  - {id: path, when: '"/etc" in session.target.host_access.paths', effect: deny, severity: high}
`, "BOX", box))
	for i, c := range []struct{ rule, flags string }{
		{"", "-w /tmp -e OTHER=1 --security-opt no-new-privileges --sysctl net.ipv4.ip_forward=1"},
		{"dir", "-w /etc/ssl"},
		{"variable", "-e TOKEN=secret"},
		{"security", "--security-opt seccomp=unconfined"},
		{"security", "--security-opt seccomp:unconfined"},
		{"security", "--security-opt apparmor=unconfined"},
		{"security", "--security-opt label=disable"},
		{"security", "--security-opt systempaths=unconfined"},
		{"sysctl", "--sysctl kernel.msgmax=65536"},
		{"device-rule", "--device-cgroup-rule c~1:3~rwm"},
		{"cgroup", "--cgroup-parent /elsewhere"},
		{"joined", "--pid container:door-settings"},
		{"joined", "--network container:" + box[:12]},
		{"joined", "--ipc container:door-settings"},
		{"joined", "--volumes-from door-settings:ro"},
		{"path", "--volume door-settings-etc:/e"},
		{"path", "--volumes-from door-settings-hands-on"},
	} {
		name := fmt.Sprintf("door-settings%d", i)
		args := []string{"create", "--name", name}
		for _, f := range strings.Fields(c.flags) {
			args = append(args, strings.ReplaceAll(f, "~", " "))
		}
		args = append(args, docker.Image)
		denied := func(what, out string, err error) {
			t.Helper()
			if c.rule == "" && err != nil || c.rule != "" && (err == nil || !strings.Contains(out, "denied by rule "+c.rule+" ")) {
				t.Errorf("%s %s: %v %s", what, c.flags, err, out)
			}
		}
		out, err := d.run(t, args...)
		denied("create", out, err)
		if c.rule == "" {
			_ = e.Remove(context.Background(), name)
		}
		if out, err := docker.Output(e.CLI(t.Context(), args...)); err != nil {
			t.Logf("the daemon itself refuses %s: %s", c.flags, out)
			continue
		}
		t.Cleanup(func() { _ = e.Remove(context.Background(), name) })
		out, err = d.run(t, "start", name)
		denied("start", out, err)
	}
	for rule, flags := range map[string]string{
		"dir": "-w /etc door-settings", "variable": "-e TOKEN=secret door-settings", "path": "door-settings-handed",
	} {
		args := append(append([]string{"exec"}, strings.Fields(flags)...), "/bin/true")
		if out, err := d.run(t, args...); err == nil || !strings.Contains(out, "denied by rule "+rule+" ") {
			t.Errorf("%s: %v %s", flags, err, out)
		}
	}
	d.must(t, "exec", "-w", "/tmp", "-e", "OTHER=1", "door-settings", "/bin/true")
	last := d.decided()[len(d.decided())-1].Request
	if s := last.Settings; s == nil || s.Dir != "/tmp" || strings.Join(s.Variables, " ") != "OTHER" || last.ExecID == "" {
		t.Errorf("the start of an exec: %+v", last)
	}
}
