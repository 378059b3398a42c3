package call

import (
	"reflect"
	"strings"
	"testing"
)

// TestParse: command lines as shims and people write them. The first two are
// containerd's (go-runc) and dockerd's.
func TestParse(t *testing.T) {
	for line, want := range map[string]Line{
		"--root /run/docker/runtime-runc/moby --log /l/log.json --log-format json exec --process /tmp/p1 --console-socket /s --detach --pid-file /b/e1.pid c1": {
			Verb: Exec, Container: "c1", Root: "/run/docker/runtime-runc/moby", Bundle: ".", Log: "/l/log.json", LogFormat: "json", Process: "/tmp/p1", PIDFile: "/b/e1.pid", Argv: []string{},
		},
		"--root /run/containerd/runc/k8s.io --systemd-cgroup create --bundle /b/c1 --pid-file /b/c1/init.pid c1": {
			Verb: Create, Container: "c1", Root: "/run/containerd/runc/k8s.io", Bundle: "/b/c1", LogFormat: "text", PIDFile: "/b/c1/init.pid", Argv: []string{},
		},
		"exec -t -u 12:34 --env A=b -e C=d --cwd=/srv c1 sh -c -t": {
			Verb: Exec, Container: "c1", Root: "/run/runc", Bundle: ".", LogFormat: "text", Terminal: true, User: "12:34", Env: []string{"A=b", "C=d"}, Dir: "/srv",
			Argv: []string{"sh", "-c", "-t"},
		},
		"-root=/r run -b /x --keep c2": {Verb: Run, Container: "c2", Root: "/r", Bundle: "/x", LogFormat: "text", Argv: []string{}},
		"delete --force c1":            {Verb: "delete", Root: "/run/runc", Bundle: ".", LogFormat: "text"},
		"--version":                    {Root: "/run/runc", Bundle: ".", LogFormat: "text"},
		"":                             {Root: "/run/runc", Bundle: ".", LogFormat: "text"},
	} {
		got, err := Parse(strings.Fields(line))
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %v\n%+v, want\n%+v", line, err, *got, want)
		}
	}
}

// TestParseRefuses: what may be read in two ways, or in none.
func TestParseRefuses(t *testing.T) {
	for line, why := range map[string]string{
		"exec c1":                  "no command",
		"exec -p /p c1 sh":         "or two",
		"exec":                     "names no container",
		"create c1 --bundle /b":    "behind the container's id",
		"create --bundle":          "needs an argument",
		"create --unknown /b c1":   "not defined",
		"--unknown create c1":      "not defined",
		"exec --process /p ../c1":  "no container's id",
		"exec --process /p ..":     "no container's id",
		"begin c1":                 "no command of a runtime",
		"--debug=maybe exec c1 sh": "invalid boolean",
	} {
		if _, err := Parse(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", line, err, why)
		}
	}
	if l, err := Parse(strings.Fields("--log /l --log-format json exec --no-such c1 sh")); err == nil || l.Log != "/l" || l.LogFormat != "json" {
		t.Errorf("where to say so: %+v", l)
	}
}

// FuzzParse: what begins has a container that is one directory's name, and a command
// in one place.
func FuzzParse(f *testing.F) {
	f.Add("--root\x00/r\x00exec\x00-p\x00/p\x00c1")
	f.Add("create\x00--bundle=/b\x00c1")
	f.Fuzz(func(t *testing.T, line string) {
		l, err := Parse(strings.Split(line, "\x00"))
		switch {
		case l == nil:
			t.Fatal("nothing")
		case err != nil || !l.Begins():
			return
		case l.Container == "" || strings.Contains(l.Container, "/") || l.Container == "..":
			t.Errorf("container %q", l.Container)
		case l.Verb == Exec && (l.Process == "") == (len(l.Argv) == 0), l.Verb != Exec && len(l.Argv) > 0:
			t.Errorf("command %q and %q", l.Process, l.Argv)
		}
	})
}
