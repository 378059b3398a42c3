package gain_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/gain"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

func uid(n int64) *int64 { return &n }

// bare is an image with nothing to run.
func bare(n int64) *inventory.Inside { return &inventory.Inside{Image: "i", UID: uid(n)} }

func TestInPod(t *testing.T) {
	plain := func() (inventory.Template, inventory.Container) {
		return inventory.Template{ServiceAccount: "web", Token: inventory.Yes, HostUsers: inventory.Yes}, inventory.Container{Name: "c", Escalation: inventory.Yes}
	}
	base := gain.Gain{
		Power: gain.PowerUnknown, Tools: gain.ToolsUnknown, HostUser: inventory.Yes, Capabilities: gain.BaseUnknown, NoNewPrivs: inventory.No,
		WritableRoot: inventory.Yes, Token: inventory.Yes, Account: "shop/web",
	}
	root := base
	root.Power, root.Tools, root.User, root.Capabilities, root.Inside = gain.PowerRoot, gain.ToolsNone, uid(0), gain.BaseDefault, bare(0)
	with := func(g gain.Gain, change func(*gain.Gain)) gain.Gain { change(&g); return g }
	for name, tt := range map[string]struct {
		make func(*inventory.Template, *inventory.Container)
		want gain.Gain
	}{
		"nothing is known": {func(*inventory.Template, *inventory.Container) {}, base},
		"as the image":     {func(_ *inventory.Template, c *inventory.Container) { c.Inside = bare(0) }, root},
		"not as the image": {func(_ *inventory.Template, c *inventory.Container) { c.Inside, c.User = bare(0), uid(7) }, with(root, func(g *gain.Gain) {
			g.Power, g.User, g.Capabilities = gain.PowerUser, uid(7), gain.BaseNone
		})},
		"not root, whoever": {func(_ *inventory.Template, c *inventory.Container) { c.NonRoot = inventory.Yes }, with(base, func(g *gain.Gain) {
			g.Power, g.Capabilities = gain.PowerUser, gain.BaseNone
		})},
		"more capabilities": {func(_ *inventory.Template, c *inventory.Container) {
			c.Inside, c.AddCapabilities, c.DropCapabilities = bare(0), []string{"NET_ADMIN"}, []string{"NET_RAW"}
		}, with(root, func(g *gain.Gain) { g.Added, g.Dropped = []string{"NET_ADMIN"}, []string{"NET_RAW"} })},
		"those of others": {func(_ *inventory.Template, c *inventory.Container) {
			c.Inside, c.AddCapabilities = bare(7), []string{"NET_ADMIN"}
		}, with(root, func(g *gain.Gain) {
			g.Power, g.User, g.Capabilities, g.Inside = gain.PowerUser, uid(7), gain.BaseNone, bare(7)
		})},
		"all dropped": {func(_ *inventory.Template, c *inventory.Container) { c.DropAll = true }, with(base, func(g *gain.Gain) { g.Capabilities = gain.BaseNone })},
		"but one": {func(_ *inventory.Template, c *inventory.Container) {
			c.Inside, c.DropAll, c.AddCapabilities = bare(0), true, []string{"CHOWN"}
		}, with(root, func(g *gain.Gain) { g.Capabilities, g.Added = gain.BaseNone, []string{"CHOWN"} })},
		"privileged": {func(_ *inventory.Template, c *inventory.Container) {
			c.Privileged, c.Inside, c.Seccomp = true, bare(0), "RuntimeDefault"
		}, with(root, func(g *gain.Gain) {
			g.Power, g.How, g.Privileged, g.Capabilities, g.Seccomp = gain.PowerHost, "privileged", true, gain.BaseAll, "unconfined"
		})},
		"the runtime's socket": {func(t *inventory.Template, c *inventory.Container) {
			c.Inside, t.HostPaths = bare(7), []inventory.HostPath{{Container: "c", Path: "/run", ReadOnly: true}}
		}, with(root, func(g *gain.Gain) {
			g.Power, g.How, g.User, g.Capabilities, g.Inside = gain.PowerHost, "mounts /run with the runtime's socket, unless container c runs as another user than root, and nothing in it makes that root", uid(7), gain.BaseNone, bare(7)
		})},
		"as little as can be": {func(t *inventory.Template, c *inventory.Container) {
			t.Token, t.HostUsers = inventory.No, inventory.No
			c.Inside, c.Escalation, c.ReadOnlyRoot, c.Seccomp = bare(7), inventory.No, true, "RuntimeDefault"
		}, gain.Gain{
			Power: gain.PowerUser, Tools: gain.ToolsNone, User: uid(7), HostUser: inventory.No, Capabilities: gain.BaseNone, NoNewPrivs: inventory.Yes,
			Seccomp: "RuntimeDefault", WritableRoot: inventory.No, Token: inventory.No, Inside: bare(7),
		}},
		"namespaces": {func(t *inventory.Template, _ *inventory.Container) { t.HostIPC, t.HostNetwork = true, true }, with(base, func(g *gain.Gain) { g.Namespaces = []string{"ipc", "network"} })},
	} {
		tmpl, c := plain()
		tt.make(&tmpl, &c)
		if d := cmp.Diff(tt.want, gain.InPod("shop", &tmpl, &c, nil)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestSeccompOfTheKubelet(t *testing.T) {
	for k, want := range map[inventory.Answer]string{inventory.Yes: "RuntimeDefault", inventory.No: "unconfined", inventory.Unknown: ""} {
		if g := gain.InPod("n", &inventory.Template{}, &inventory.Container{}, &inventory.Kubelet{SeccompDefault: k}); g.Seccomp != want {
			t.Errorf("%s: %q", k, g.Seccomp)
		}
	}
	if g := gain.InPod("n", &inventory.Template{}, &inventory.Container{Seccomp: "Localhost/x"}, &inventory.Kubelet{SeccompDefault: inventory.Yes}); g.Seccomp != "Localhost/x" {
		t.Error(g.Seccomp)
	}
}

func TestTools(t *testing.T) {
	for want, in := range map[gain.Tools]*inventory.Inside{
		gain.ToolsUnknown: nil, gain.ToolsNone: {SetUID: []string{"/su"}}, gain.ToolsPrograms: {Clients: []string{"/kubectl"}}, gain.ToolsShell: {Shells: []string{"/sh"}, Compilers: []string{"/cc"}},
	} {
		if g := gain.InPod("n", &inventory.Template{}, &inventory.Container{Inside: in}, nil); g.Tools != want {
			t.Errorf("%s: %s", want, g.Tools)
		}
	}
}

func TestInEngine(t *testing.T) {
	h := &inventory.Host{Name: "h", Sockets: []inventory.Socket{{Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660}}}
	c := &inventory.DockerOrCRI{Engine: inventory.ServiceDocker, HostUsers: inventory.Yes, Container: inventory.Container{Name: "web", User: uid(7), Seccomp: "builtin"}}
	g := gain.InEngine(h, c)
	if g.Power != gain.PowerUser || !g.Chooses || g.Token != inventory.No {
		t.Errorf("%+v", g)
	}
	c.Mounts = []inventory.HostPath{{Container: "web", Path: "/run", Mount: "/x", ReadOnly: true}}
	if g := gain.InEngine(h, c); g.Power != gain.PowerHost || g.How == "" {
		t.Errorf("%+v", g)
	}
	if d := cmp.Diff([]string{"no_new_privileges", "inside"}, g.Unknown()); d != "" {
		t.Error(d)
	}
}

func TestAllFoldsPodsOfAWorkload(t *testing.T) {
	pod := func(name, node string, user int64) inventory.Pod {
		return inventory.Pod{Object: inventory.Object{Namespace: "shop", Name: name}, Workload: "Deployment/web", Node: node,
			Template: inventory.Template{Containers: []inventory.Container{{Name: "c", User: &user}}}}
	}
	c := &inventory.Cluster{
		Pods:  []inventory.Pod{pod("a", "1", 7), pod("b", "1", 7), pod("c", "2", 7), pod("d", "1", 8)},
		Nodes: []inventory.Node{{Object: inventory.Object{Name: "2"}, Kubelet: &inventory.Kubelet{SeccompDefault: inventory.Yes}}},
	}
	var got []int
	for _, c := range gain.All(&inventory.Inventory{Cluster: c, Hosts: []inventory.Host{{Running: []inventory.DockerOrCRI{{}}}}}) {
		got = append(got, c.Pods)
	}
	if d := cmp.Diff([]int{0, 2, 1, 1}, got); d != "" {
		t.Error(d)
	}
}
