package kernel

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
)

const hexID = "4300154dcf3eca4203a7b7db63b1dca1af7355817e577f3b4b24c637e662302e"

func TestContainerOf(t *testing.T) {
	const pod = "kubepods-besteffort-pod1b2c3d4e_5f60_4711_8899_aabbccddeeff.slice"
	for _, tt := range []struct {
		name   string
		cgroup string // the deepest last, as people write it
		want   bool
	}{
		{"docker, cgroupfs", "docker/" + hexID, true},
		{"docker, systemd", "system.slice/docker-" + hexID + ".scope", true},
		{"docker with a parent of its own", "batch/" + hexID, true},
		{"containerd's CRI, cgroupfs", "kubepods/besteffort/pod1b2c3d4e-5f60-4711-8899-aabbccddeeff/" + hexID, true},
		{"containerd's CRI, systemd", "kubepods.slice/kubepods-besteffort.slice/" + pod + "/cri-containerd-" + hexID + ".scope", true},
		{"containerd's CRI, older", "system.slice/containerd.service/" + pod + ":cri-containerd:" + hexID, true},
		{"CRI-O, cgroupfs", "kubepods/pod1/crio-" + hexID, true},
		{"CRI-O, systemd", "kubepods.slice/" + pod + "/crio-" + hexID + ".scope", true},
		{"CRI-O with crun", "kubepods.slice/" + pod + "/crio-" + hexID + ".scope/container", true},
		{"Podman, systemd", "machine.slice/libpod-" + hexID + ".scope", true},
		{"Podman with crun", "machine.slice/libpod-" + hexID + ".scope/container", true},
		{"Podman, cgroupfs", "libpod_parent/libpod-" + hexID, true},
		{"Podman, rootless", "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + hexID + ".scope", true},
		{"systemd inside", "docker/" + hexID + "/system.slice/cron.service", true},

		{"CRI-O's conmon", "kubepods.slice/" + pod + "/crio-conmon-" + hexID + ".scope", false},
		{"Podman's conmon", "machine.slice/libpod-conmon-" + hexID + ".scope", false},
		{"a pod without a container", "kubepods.slice/" + pod, false},
		{"a service", "system.slice/docker.service", false},
		{"a login", "user.slice/user-1000.slice/session-1.scope", false},
		{"too short", "docker/" + hexID[1:], false},
		{"too long", "docker/" + hexID + "0", false},
		{"upper case", "docker/" + strings.ToUpper(hexID), false},
		{"a name of its own", "default/c1", false},
		{"the root", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, ok := containerOf(deepestFirst(tt.cgroup))
			if ok != tt.want || ok && id != hexID {
				t.Errorf("containerOf(%q) = %q, %v", tt.cgroup, id, ok)
			}
		})
	}
}

func TestContainerOfNested(t *testing.T) {
	inner := strings.Repeat("a", 64)
	if id, _ := containerOf(deepestFirst("docker/" + hexID + "/docker/" + inner)); string(id) != inner {
		t.Errorf("got %s, want the inner container", id)
	}
}

func TestNamed(t *testing.T) {
	for cgroup, want := range map[string]event.ContainerID{
		"default/c1":                  "c1",
		"system.slice/runc-c1.scope":  "c1",
		"system.slice/runc-a-b.scope": "a-b",
		"my-box":                      "my-box",
		"":                            "",
	} {
		if got := named(deepestFirst(cgroup)); got != want {
			t.Errorf("named(%q) = %q, want %q", cgroup, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	places := newPlaceTable()
	at := place{mnt: 7, pid: 4026532180}
	places.learn(at, container{id: hexID, cgroup: hexID}, true)

	for _, p := range []place{at, {mnt: 7}, {mnt: 9, pid: at.pid}} {
		if c, ok := places.at(p); !ok || c.id != hexID {
			t.Errorf("at(%+v) = %+v, %v", p, c, ok)
		}
	}
	if _, ok := places.at(place{mnt: 9, pid: 4026531836}); ok {
		t.Error("a place of the host is in a container")
	}
	c, _ := places.at(at)
	if !c.holds([]string{"init.scope", hexID}) || c.holds([]string{"user.slice"}) || c.holds(nil) {
		t.Error("holds goes wrong")
	}
	places.forget(at)
	if _, ok := places.at(at); ok {
		t.Error("a forgotten place is known")
	}
}

func TestPlacesAreBounded(t *testing.T) {
	places := newPlaceTable()
	for i := range uint64(placesMax + 100) {
		places.learn(place{mnt: i + 1}, container{id: "c"}, false)
	}
	if n := len(places.mnt); n != placesMax {
		t.Errorf("%d places, want %d", n, placesMax)
	}
}

func FuzzContainerOf(f *testing.F) {
	for _, s := range []string{
		"docker/" + hexID, "system.slice/docker-" + hexID + ".scope", "a/crio-conmon-" + hexID + ".scope", "", "/", "-.scope", ":",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cgroup string) {
		names := deepestFirst(cgroup)
		if id, ok := containerOf(names); ok && (!isHexID(string(id)) || !strings.Contains(cgroup, string(id))) {
			t.Errorf("containerOf(%q) = %q", cgroup, id)
		}
		named(names)
	})
}

// deepestFirst is how the kernel side reports a path.
func deepestFirst(path string) []string {
	if path == "" {
		return nil
	}
	var out []string
	for _, name := range strings.Split(path, "/") {
		out = append([]string{name}, out...)
	}
	return out
}
