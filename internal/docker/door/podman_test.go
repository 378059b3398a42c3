package door

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestLibpodArgv: what a container runs is put together as Podman does.
func TestLibpodArgv(t *testing.T) {
	var i image
	i.Config.Entrypoint, i.Config.Cmd = []string{"entry"}, []string{"cmd"}
	for _, c := range []struct {
		entrypoint, command []string
		want                string
	}{
		{nil, nil, "entry cmd"}, {nil, []string{"x"}, "entry x"}, {[]string{}, nil, "cmd"}, {[]string{}, []string{"x"}, "x"},
		{[]string{""}, nil, ""}, {[]string{""}, []string{"x"}, "x"}, {[]string{"e"}, nil, "e"}, {[]string{"e"}, []string{"x"}, "e x"},
	} {
		g := specGenerator{Entrypoint: c.entrypoint, Command: c.command}
		if got := strings.Join(g.argv(&i), " "); got != c.want {
			t.Errorf("%q %q: %q, want %q", c.entrypoint, c.command, got, c.want)
		}
	}
}

// TestPodmanHealth: a health check is what Podman makes of it, of Docker's words
// after they were one text.
func TestPodmanHealth(t *testing.T) {
	for _, c := range []struct{ test, want, composed []string }{
		{nil, nil, nil},
		{[]string{"NONE"}, nil, []string{"NONE"}},
		{[]string{"CMD", "a b", "c"}, []string{"a b", "c"}, []string{"CMD", "a", "b", "c"}},
		{[]string{"CMD-SHELL", "a b", "c"}, []string{"/bin/sh", "-c", "a b c"}, []string{"CMD-SHELL", "a b", "c"}},
		{[]string{"a", "b"}, []string{"a", "b"}, []string{"a", "b"}},
	} {
		if diff := cmp.Diff(c.want, podmanHealth(c.test)); diff != "" {
			t.Errorf("%q: %s", c.test, diff)
		}
		if c.test != nil {
			if diff := cmp.Diff(c.composed, composed(c.test)); diff != "" {
				t.Errorf("%q: %s", c.test, diff)
			}
		}
	}
}

// TestAsPodman: what Podman reads otherwise than Docker does is refused, and what
// only Podman has from the host is seen.
func TestAsPodman(t *testing.T) {
	with := func(host container.HostConfig) container.CreateRequest {
		return container.CreateRequest{Config: &container.Config{}, HostConfig: &host}
	}
	config := func(c container.Config) container.CreateRequest { return container.CreateRequest{Config: &c} }
	for name, c := range map[string]struct {
		body  container.CreateRequest
		paths string
		why   string
	}{
		"nothing":                  {config(container.Config{}), "", ""},
		"an entrypoint":            {config(container.Config{Entrypoint: []string{"[x"}}), "", ""},
		"a list for an entrypoint": {config(container.Config{Entrypoint: []string{` ["a", 1]`}}), "", "read as a list"},
		"null for an entrypoint":   {config(container.Config{Entrypoint: []string{"null"}}), "", "read as a list"},
		"two words":                {config(container.Config{Entrypoint: []string{`["a"]`, "b"}}), "", ""},
		"a mount":                  {with(container.HostConfig{Mounts: []mount.Mount{{Type: "bind", Source: "/a", Target: "/b"}}}), "", ""},
		"a comma":                  {with(container.HostConfig{Mounts: []mount.Mount{{Type: "volume", Source: "a,src=/etc", Target: "/b"}}}), "", "comma"},
		"a quotation mark":         {with(container.HostConfig{Mounts: []mount.Mount{{Type: "volume", Source: "a", Target: "\"/b\""}}}), "", "comma"},
		"a comma in an option": {with(container.HostConfig{Mounts: []mount.Mount{{
			Type: "bind", Source: "/a", Target: "/b", BindOptions: &mount.BindOptions{Propagation: "rw,src=/etc"}}}}), "", "comma"},
		"a volume":         {config(container.Config{Volumes: map[string]struct{}{"/v": {}}}), "", ""},
		"a volume's colon": {config(container.Config{Volumes: map[string]struct{}{"/etc:/e": {}}}), "", "as a bind"},
		"a log's path":     {with(container.HostConfig{LogConfig: container.LogConfig{Config: map[string]string{"path=/etc/x": ""}}}), "", "two names"},
		"another type":     {with(container.HostConfig{Mounts: []mount.Mount{{Type: "glob", Source: "/etc/*", Target: "/b"}}}), "", "glob"},
		"no source":        {with(container.HostConfig{Mounts: []mount.Mount{{Type: "bind", Target: "/etc"}}}), "", "depends on where"},
		"a relative bind":  {with(container.HostConfig{Binds: []string{"./a:/b"}}), "", "depends on where"},
		"a bind's overlay": {with(container.HostConfig{Binds: []string{"/a:/b:O,upperdir=/etc,workdir=/w"}}), "/etc /w", ""},
		"a log's file":     {with(container.HostConfig{LogConfig: container.LogConfig{Type: "k8s-file", Config: map[string]string{"Path": "/etc/x"}}}), "/etc/x", ""},
		"a device":         {with(container.HostConfig{Resources: container.Resources{Devices: []container.DeviceMapping{{PathOnHost: "/dev/null:/dev/sda"}}}}), "", "colon"},
		"an annotation":    {with(container.HostConfig{Annotations: map[string]string{"run.oci.handler": "x"}}), "", "run.oci.handler"},
	} {
		s := session.Session{Target: session.Target{HostAccess: &event.HostAccess{}}}
		err := New(Options{}).asPodman(&s, &c.body)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
		if got := strings.Join(s.Target.HostAccess.Paths, " "); err == nil && got != c.paths {
			t.Errorf("%s: paths %q, want %q", name, got, c.paths)
		}
	}
}
