package settings

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

func written(all []inventory.Setting) (out []string) {
	for _, s := range all {
		out = append(out, fmt.Sprintf("%s=%s", s.Name, s.Value))
	}
	return out
}

const pretty = `{
  "hosts": [
    "unix:///run/docker.sock",
    "tcp://0.0.0.0:2375"
  ],
  "tlsverify": true,
  "log-opts": { "max-size": "10m" },
  "mtu": 1400,
  "icc": true,

  "icc": false
}
`

func TestFile(t *testing.T) {
	got, skipped, err := File("daemon.json", []byte("\xef\xbb\xbf"+pretty))
	want := []string{"hosts=unix:///run/docker.sock", "hosts=tcp://0.0.0.0:2375", "tlsverify=true", "log-opts.max-size=10m", "mtu=1400", "icc=false"}
	if d := cmp.Diff(want, written(got)); d != "" || err != nil {
		t.Fatal(d, err)
	}
	if got[1].Origin.Line != 2 || got[2].Origin.Line != 6 || len(skipped) != 1 || skipped[0].Origin.Line != 11 {
		t.Errorf("lines: %+v, skipped %+v", got, skipped)
	}
	compact := strings.Join(strings.Fields(pretty), "")
	if again, _, err := File("x", []byte(compact)); err != nil || cmp.Diff(want, written(again)) != "" {
		t.Errorf("laid out otherwise it is %v, %v", again, err)
	}
	if got, _, err := File("x", []byte(" \n")); got != nil || err != nil {
		t.Errorf("an empty file: %v, %v", got, err)
	}
	for _, bad := range []string{"[]", "{", `{"a":}`, `{"a":1} x`, "nonsense", `{"a":1`} {
		if got, _, err := File("daemon.json", []byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "daemon.json:1: ") {
			t.Errorf("%s: %v, %v", bad, got, err)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string][]string{
		"-H unix:///a --host=tcp://b:1 --host fd://":      {"hosts=unix:///a", "hosts=tcp://b:1", "hosts=fd://"},
		"-Hunix:///a -H=unix:///b":                        {"hosts=unix:///a", "hosts=unix:///b"},
		"-DH unix:///a":                                   {"debug=true", "hosts=unix:///a"},
		"--tlsverify --tlscacert /ca.pem --tls=false":     {"tlsverify=true", "tlscacert=/ca.pem", "tls=false"},
		"--icc=true --icc=false":                          {"icc=false"},
		"--userns-remap default --authorization-plugin p": {"userns-remap=default", "authorization-plugins=p"},
		"--iptables=false extra --data-root":              {"iptables=false", "data-root=true"},
		"--live-restore -- -H x":                          {"live-restore=true"},
	} {
		if d := cmp.Diff(want, written(Flags(strings.Fields(args), inventory.Origin{}))); d != "" {
			t.Errorf("%s: %s", args, d)
		}
	}
}

func TestUnit(t *testing.T) {
	root := fstest.MapFS{}
	for name, text := range map[string]string{
		"lib/systemd/system/docker.service": "[Unit]\nDescription=Docker\n[Service]\nEnvironmentFile=-/etc/default/docker\nEnvironmentFile=-/etc/none\n" +
			"ExecStart=/usr/bin/dockerd -H fd:// \\\n  --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n",
		"etc/systemd/system/docker.service.d/10-tcp.conf": "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H 'tcp://${BIND}:2375' $DOCKER_OPTS\nEnvironment=\"BIND=0.0.0.0\" X=1\n",
		"lib/systemd/system/docker.service.d/10-tcp.conf": "[Service]\nExecStart=\nExecStart=/hidden\n",
		"etc/systemd/system/docker.service.d/note.txt":    "[Service]\nExecStart=/no\n",
		"etc/default/docker":                              "# options\nDOCKER_OPTS=\"--icc=false --live-restore\"\n",
		"lib/systemd/system/docker.socket":                "[Socket]\nListenStream=/run/docker.sock\nListenStream=2375\nSocketMode=0660\n",
	} {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	u, err := ReadUnit(root, systemDirs, "docker.service")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr/sbin/dockerd", "-H", "fd://", "-H", "tcp://0.0.0.0:2375", "--icc=false", "--live-restore"}
	if d := cmp.Diff(want, u.Exec); d != "" {
		t.Error(d)
	}
	if u.Origin != (inventory.Origin{Source: "/etc/systemd/system/docker.service.d/10-tcp.conf", Line: 3}) || u.Unset != nil {
		t.Errorf("%+v", u)
	}
	socket, err := ReadUnit(root, systemDirs, "docker.socket")
	if d := cmp.Diff([]string{"hosts=unix:///run/docker.sock", "hosts=tcp://[::]:2375"}, written(socket.Listen)); d != "" || err != nil {
		t.Error(d, err)
	}
	if none, err := ReadUnit(root, systemDirs, "podman.service"); err != nil || len(none.Exec) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	root["run/systemd/system/docker.service.d/20-masked.conf"] = &fstest.MapFile{Mode: fs.ModeDevice | fs.ModeCharDevice}
	if masked, err := ReadUnit(root, systemDirs, "docker.service"); err != nil || !slices.Equal(masked.Exec, want) {
		t.Errorf("with a masked drop-in: %+v, %v", masked, err)
	}
	root["etc/default/docker"].Data = []byte("OTHER=1\n")
	if u, err := ReadUnit(root, systemDirs, "docker.service"); err != nil || !slices.Equal(u.Unset, []string{"DOCKER_OPTS"}) {
		t.Errorf("a variable that nothing sets: %+v, %v", u, err)
	}
}

// TestUnitOfAUser: the systemd of a user has units of its own, by the names of the
// system's.
func TestUnitOfAUser(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/system.slice/docker.service\n":                                                         "docker.service false",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service\n":               "docker.service true",
		"12:pids:/system.slice/docker.service\n1:name=systemd:/system.slice/docker.service\n0::/\n": "docker.service false",
		"0::/user.slice/user-1000.slice/session-2.scope\n":                                          " false", "": " false",
	} {
		if name, users := unitOf(cgroup); fmt.Sprint(name, " ", users) != want {
			t.Errorf("%q: %q, %v", cgroup, name, users)
		}
	}
	root := fstest.MapFS{
		"usr/lib/systemd/system/docker.service":              {Data: []byte("[Service]\nExecStart=/usr/bin/dockerd -H fd://\n")},
		"home/jane/.config/systemd/user/docker.service":      {Data: []byte("[Service]\nExecStart=/usr/bin/dockerd-rootless.sh --icc=false\n")},
		"run/user/1000/systemd/user/docker.service.d/a.conf": {Data: []byte("[Service]\nExecStart=\nExecStart=/opt/dockerd\n")},
	}
	dirs := userDirs("/home/jane", "/home/jane/.config", "/run/user/1000")
	if u, err := ReadUnit(root, dirs, "docker.service"); err != nil || !slices.Equal(u.Exec, []string{"/opt/dockerd"}) {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestDisagreements(t *testing.T) {
	flags := Flags([]string{"-H", "tcp://0.0.0.0:2375", "--icc=false", "--debug"}, inventory.Origin{Source: "flags"})
	file, _, err := File("daemon.json", []byte(`{"icc": true, "hosts": ["tcp://0.0.0.0:2375"], "mtu": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	got := Compare(flags, file, false)
	if len(got) != 1 || got[0].Name != "icc" || got[0].Values[1].Origin.Source != "daemon.json" {
		t.Errorf("%+v", got)
	}
	if got := Compare(flags, file, true); len(got) != 3 { // icc, debug, mtu
		t.Errorf("%+v", got)
	}
	d := &inventory.Docker{Version: "1", LiveRestore: inventory.No, UserNS: inventory.No, AuthzPlugins: []string{"p"}}
	var names []string
	for _, g := range applied(d, []inventory.Setting{{Name: "live-restore", Value: "true"}, {Name: "userns-remap", Value: "default"}, {Name: "selinux-enabled", Value: "true"}}) {
		names = append(names, g.Name)
	}
	if d := cmp.Diff([]string{"authorization-plugins", "live-restore", "userns-remap"}, names); d != "" {
		t.Error(d)
	}
	Effective(d, flags)
	if d.TLS != inventory.No || len(d.Hosts) != 1 {
		t.Errorf("%+v", d)
	}
	if got := Listening(d, []netip.AddrPort{netip.MustParseAddrPort("[::]:2375")}); got != nil {
		t.Errorf("%+v", got)
	}
	if got := Listening(d, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2376")}); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

// TestPortOf has addresses as dockerd's -H takes them.
func TestPortOf(t *testing.T) {
	for host, want := range map[string]uint16{
		"tcp://0.0.0.0:1": 1, "tcp://[::]:65535/x": 65535, "tcp://0.0.0.0": 2375, "tcp://": 2375, "tcp://[::1]": 2375, "tcp://h:": 2375,
		"0.0.0.0:4243": 4243, ":4243": 4243, "localhost": 2375,
		"unix:///run/d.sock": 0, "fd://": 0, "": 0, "tcp://h:65536": 0, "tcp://h:x": 0, "npipe:////./pipe/x": 0,
	} {
		if got, ok := portOf(host); got != want && ok || ok != (want != 0) {
			t.Errorf("%s: %d, %v", host, got, ok)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(pretty))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _, err := File("x", b)
		if err != nil && all != nil {
			t.Fatal("settings and an error")
		}
		for _, s := range all {
			if s.Origin.Line < 1 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func FuzzFlags(f *testing.F) {
	f.Add("-DH\x00unix:///a\x00--tls")
	f.Fuzz(func(t *testing.T, cmdline string) {
		if args := strings.Split(cmdline, "\x00"); len(args) < 1000 {
			Flags(args, inventory.Origin{})
		}
	})
}

func FuzzUnit(f *testing.F) {
	f.Add("[Service]\nEnvironment=\"A=${A}\" B=1\nExecStart=/usr/bin/dockerd ${A}${B} $A \\\n x\n")
	f.Fuzz(func(t *testing.T, unit string) {
		root := fstest.MapFS{"etc/systemd/system/x.service": {Data: []byte(unit)}}
		if _, err := ReadUnit(root, systemDirs, "x.service"); err != nil && !strings.Contains(unit, "EnvironmentFile") {
			t.Fatal(err)
		}
	})
}
