package scan

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
)

// shopHost is a host with two containers, whose engine jane may use by a group.
func shopHost() inventory.Host {
	run := func(name string) inventory.DockerOrCRI {
		return inventory.DockerOrCRI{ID: name + "01", Container: inventory.Container{Name: name}}
	}
	return inventory.Host{
		Name: "n1", Users: []inventory.Account{{Name: "jane", UID: 1000, GID: 1000}, {Name: "joe", UID: 1001, GID: 1001}},
		Groups:  []inventory.UnixGroup{{Name: "docker", GID: 9, Members: []string{"jane"}, Origin: inventory.Origin{Source: "/etc/group", Line: 4}}},
		Sockets: []inventory.Socket{{Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660, GID: 9, Reachable: inventory.Yes}},
		Docker:  &inventory.Docker{Socket: "/run/docker.sock"}, Running: []inventory.DockerOrCRI{run("web"), run("db")},
	}
}

// TestHostsAreAsked: reach and path of a user of a host, without a cluster.
func TestHostsAreAsked(t *testing.T) {
	i := &inventory.Inventory{Hosts: []inventory.Host{shopHost()}}
	for _, tt := range []struct {
		actor exposure.Actor
		reach string // "" is an error
		path  string
	}{
		{"unix:jane", "unix:jane can get a command into 2 of 2 containers of Docker engines.", "unix:jane -> container web on n1 through DK-EXEC, 1 step"},
		{"unix:joe", "unix:joe can get a command into 0 of 2 containers of Docker engines.", "No way"},
		{"unix:nobody", "", ""},
		{"user:ann", "", ""},
	} {
		t.Run(string(tt.actor), func(t *testing.T) {
			var out bytes.Buffer
			env, s := &terminal.Env{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}, &sources{}
			list := hostExposures(i, tt.actor)
			if err := reachHosts(env, i, s, tt.actor, list, false); (err != nil) != (tt.reach == "") || !strings.Contains(out.String(), tt.reach) {
				t.Errorf("reach: %v: %s", err, out.String())
			}
			list, ok := hostPath(i, "default", tt.actor, "web")
			if err := pathOnHost(env, i, s, tt.actor, "web", list, false); !ok || (err != nil) != (tt.path == "") || !strings.Contains(out.String(), tt.path) {
				t.Errorf("path: %v: %s", err, out.String())
			}
			if err := pathOnHost(env, i, s, tt.actor, "gone", nil, false); err == nil {
				t.Error("there is a way into a container that is not there")
			}
		})
	}
}

// TestHostJoinsCluster: a user of a host that is a node reaches its pods, and cut names
// the group.
func TestHostJoinsCluster(t *testing.T) {
	pod := func(name, node string) inventory.Pod {
		return inventory.Pod{Object: inventory.Object{Namespace: "shop", Name: name}, Node: node, Template: inventory.Template{Containers: []inventory.Container{{Name: "app"}}}}
	}
	i := &inventory.Inventory{Hosts: []inventory.Host{shopHost()}, Cluster: &inventory.Cluster{Pods: []inventory.Pod{pod("web", "n1"), pod("db", "n2")}}}
	a := analyse(i)
	if r, err := a.Reach("unix:jane"); err != nil || r.Pods != 1 {
		t.Errorf("%+v %v", r, err)
	}
	if cut := cutTargets(nil).cut(i, 3); len(cut.Removals) != 1 || cut.Removals[0].Patch != "gpasswd -d jane docker" || removedAt(&cut.Removals[0]) != "n1 /etc/group:4" {
		t.Errorf("%+v", cut)
	}
	i.Hosts[0].Kubelet = &inventory.Kubelet{Node: "n3"} // another cluster's
	if _, err := analyse(i).Reach("unix:jane"); err == nil {
		t.Error("a host of another cluster is joined")
	}
}

// TestCutOfHosts: of a snapshot of a host alone, and of one beside a cluster of which it is no
// node, as text and as JSON.
func TestCutOfHosts(t *testing.T) {
	h := shopHost()
	h.Listeners = []inventory.Listener{{Service: inventory.ServiceDocker, Address: "127.0.0.1:2375", TLS: inventory.No, ClientCert: inventory.No}}
	pods := &inventory.Cluster{
		Pods:     []inventory.Pod{{Object: inventory.Object{Namespace: "shop", Name: "web-1"}, Node: "n9", Template: inventory.Template{Containers: []inventory.Container{{Name: "app"}}}}},
		Roles:    []inventory.Role{{Object: inventory.Object{Namespace: "shop", Name: "exec"}, Rules: []inventory.Rule{{Verbs: []string{"get", "create"}, Groups: []string{""}, Resources: []string{"pods/exec"}}}}},
		Bindings: []inventory.Binding{{Object: inventory.Object{Namespace: "shop", Name: "devs"}, Role: "exec", Subjects: []inventory.Subject{{Kind: "Group", Name: "devs"}}}},
	}
	const port = "# take -H tcp://127.0.0.1:2375 out of the flags of dockerd, or set tlsverify with its certificates; then restart the daemon"
	for _, tt := range []struct {
		name    string
		cluster *inventory.Cluster
		targets []string
		want    []string // in this order
		not     string
	}{
		{"a host alone", nil, nil, []string{"4 pairs of an actor and a container.\n", "2       2     " + port, "2       0     gpasswd -d jane docker", "n1 /etc/group:4"}, "ROLE"},
		{"one container", nil, []string{"db"}, []string{"2 pairs of an actor and a container.\n", "1       1     " + port}, "ROLE"},
		{"beside a cluster", pods, nil, []string{"5 pairs of an actor and a pod or container.\n", "2       3     " + port, "2       1     gpasswd", "1       0     kubectl delete rolebinding -n shop devs", "ROLE"}, "pairs of an actor and a pod."},
		{"a pod of it", pods, []string{"shop/web-1"}, []string{"1 pair of", "kubectl delete"}, "gpasswd"},
		{"nowhere", nil, []string{"shop"}, nil, "pair"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.scan")
			f, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := scan.Write(f, &inventory.Inventory{Hosts: []inventory.Host{h}, Cluster: tt.cluster}, "test", nil); err != nil {
				t.Fatal(err)
			}
			var out, said bytes.Buffer
			env := &terminal.Env{Stdout: &out, Stderr: &said, Getenv: func(string) string { return "" }}
			err = cut(t.Context(), env, &sources{from: []string{file}}, tt.targets, 9, false)
			if (err != nil) != (tt.want == nil) {
				t.Fatal(err)
			}
			text := out.String()
			if strings.Contains(text, tt.not) {
				t.Errorf("%q is in\n%s", tt.not, text)
			}
			for _, w := range tt.want {
				_, after, ok := strings.Cut(text, w)
				if text = after; !ok && w != "ROLE" {
					t.Errorf("%q is not in\n%s", w, out.String())
				}
			}
			if tt.want == nil {
				return
			}
			out.Reset()
			if err := cut(t.Context(), env, &sources{from: []string{file}}, tt.targets, 9, true); err != nil || strings.Count(out.String(), "\n") == 0 {
				t.Errorf("%v: %s", err, out.String())
			}
			for d := json.NewDecoder(&out); d.More(); {
				var r exposure.Removal
				if err := d.Decode(&r); err != nil || r.Patch == "" || r.Closes == 0 || (r.Host == "") != strings.HasPrefix(r.Patch, "kubectl") {
					t.Errorf("%v: %+v", err, r)
				}
			}
		})
	}
}
