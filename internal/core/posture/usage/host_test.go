package usage_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/core/session"
)

// machine is a host with an engine that several get at.
func machine() *inventory.Host {
	return &inventory.Host{
		Name: "edge", Users: []inventory.Account{{Name: "root"}, {Name: "bob", UID: 1001, GID: 1001}, {Name: "carl", UID: 1002, GID: 1002}, {Name: "dan", UID: 1003, GID: 1003}},
		Groups: []inventory.UnixGroup{{Name: "docker", GID: 99, Members: []string{"bob", "dan"}}},
		Sudo:   []inventory.SudoRule{{Users: []string{"carl"}, As: []string{"root"}, Commands: []string{"ALL"}, Origin: inventory.Origin{Source: "/etc/sudoers", Line: 7}}},
		Sockets: []inventory.Socket{
			{Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660, GID: 99, Reachable: inventory.Yes},
			{Service: inventory.ServiceContainerd, Path: "/run/containerd.sock", Mode: 0o660, Reachable: inventory.Yes},
		},
		Listeners: []inventory.Listener{{Service: inventory.ServiceDocker, Address: "0.0.0.0:2375", TLS: inventory.No, ClientCert: inventory.No}},
		Running: []inventory.DockerOrCRI{
			{ID: "c1", Engine: inventory.ServiceDocker, Container: inventory.Container{Name: "ci"}, Mounts: []inventory.HostPath{{Path: "/run/docker.sock", Mount: "/run/docker.sock"}}},
		},
	}
}

func TestUsedOnAHost(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	by := func(a session.Actor) *session.Session {
		return &session.Session{Kind: session.KindExec, Channel: event.ChannelDockerExec, Started: day.Add(-time.Hour), Attribution: session.Attribution{Level: session.LevelExact}, Actor: a}
	}
	for _, tt := range []struct {
		name  string
		actor session.Actor
		rt    bool // by containerd's socket
		want  string
	}{
		{name: "member of the group", actor: session.Actor{Kind: session.ActorUnix, UID: id(1001)}, want: "used D1 socket /run/docker.sock (0660), group docker 1/1/0 unix:bob"},
		{name: "by sudo", actor: session.Actor{Kind: session.ActorUnix, UID: id(0), LoginUID: id(1002)}, want: "used D1 sudo ALL as root (/etc/sudoers:7) 1/1/0 unix:carl"},
		{name: "by sudo, at another door", rt: true, actor: session.Actor{Kind: session.ActorUnix, UID: id(0), LoginUID: id(1002)}, want: "used D1 sudo ALL as root (/etc/sudoers:7) 1/1/0 unix:carl"},
		{name: "from a container", actor: session.Actor{Kind: session.ActorUnix, UID: id(0), Container: "c1"}, want: "used D2 mounts /run/docker.sock 1/1/0 container:ci"},
		{name: "by the port", actor: session.Actor{Kind: session.ActorNone, Address: "192.0.2.7:4711"}, want: "used D3 TCP 0.0.0.0:2375 without TLS 1/1/0 anonymous"},
		{name: "root himself", actor: session.Actor{Kind: session.ActorUnix, UID: id(0)}},
		{name: "who logged in as another, and is himself", actor: session.Actor{Kind: session.ActorUnix, UID: id(1002), LoginUID: id(1002)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := watching(event.Host{Header: event.Header{Time: window.From}, Hostname: "edge"},
				event.WitnessState{Header: event.Header{Time: window.From, Witness: event.WitnessDocker}, Up: true})
			y := usage.New(&inventory.Inventory{Hosts: []inventory.Host{*machine()}}, nil, w, window)
			s := by(tt.actor)
			if tt.rt {
				s.Channel = event.ChannelRuntimeCtr
			}
			y.Add(s)
			r := y.Report()
			got := slices.DeleteFunc(told(&r), func(line string) bool { return line[:4] != "used" })
			if d := cmp.Diff(append([]string(nil), slices.DeleteFunc([]string{tt.want}, func(s string) bool { return s == "" })...), append([]string(nil), got...)); d != "" {
				t.Error(d)
			}
			for n := range r.Rows {
				row := &r.Rows[n]
				root := strings.HasPrefix(row.Setting, "sudo ALL") // at whatever door: the kernel sensor would see, and did not watch
				if want := map[bool]usage.State{true: usage.Unknown, false: usage.Unused}[root]; row.State != usage.Used && row.State != want {
					t.Errorf("%s of %s", row.State, row.Setting)
				}
			}
		})
	}
}

// TestOtherHosts: sessions of one host say nothing of another, and nothing of it is then
// unused.
func TestOtherHosts(t *testing.T) {
	uid := uint32(1001)
	w := watching(event.Host{Header: event.Header{Time: window.From}, Hostname: "another"},
		event.WitnessState{Header: event.Header{Time: window.From, Witness: event.WitnessDocker}, Up: true})
	y := usage.New(&inventory.Inventory{Hosts: []inventory.Host{*machine()}}, nil, w, window)
	y.Add(&session.Session{
		Kind: session.KindExec, Channel: event.ChannelDockerExec, Started: day.Add(-time.Hour),
		Attribution: session.Attribution{Level: session.LevelExact}, Actor: session.Actor{Kind: session.ActorUnix, UID: &uid},
	})
	r := y.Report()
	for n := range r.Rows {
		if r.Rows[n].State != usage.Unknown {
			t.Errorf("%+v", r.Rows[n])
		}
	}
	if r.Totals.Elsewhere != 1 || len(r.Rows) == 0 {
		t.Errorf("%+v", r.Totals)
	}
}
