package containerd

import (
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport/sallyport/internal/core/event"
)

const sandboxID = "0f0f"

// records are containers as containerd 1.6 has them, cut to what matters.
func records() map[string]*containersapi.Container {
	spec := func(json string) *anypb.Any {
		return &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: []byte(json)}
	}
	pod := map[string]string{"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u-1"}
	with := func(more ...string) map[string]string {
		m := map[string]string{}
		for k, v := range pod {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	return map[string]*containersapi.Container{
		"container": {
			ID: "c1", Image: "docker.io/library/busybox:1", Runtime: &containersapi.Container_Runtime{Name: "io.containerd.runc.v2"},
			CreatedAt: timestamppb.New(at), Labels: with("io.cri-containerd.kind", "container", "io.kubernetes.container.name", "app"),
			Spec: spec(`{"process":{"terminal":true,"args":["/bin/sh","-c","a b"]},"annotations":{"io.kubernetes.cri.sandbox-id":"` + sandboxID + `"}}`),
			Extensions: map[string]*anypb.Any{extensionContainer: {
				TypeUrl: "github.com/containerd/cri/pkg/store/container/Metadata",
				Value: []byte(`{"Version":"v1","Metadata":{"ID":"c1","SandboxID":"` + sandboxID + `","Config":{"metadata":{"name":"app","attempt":3},
					"mounts":[{"container_path":"/h","host_path":"/var/log"},{"host_path":"/var/lib/kubelet/pods/u-1/etc-hosts"},{"host_path":"/var/lib/kubelet/pods/u-2/volumes/x"},
						{"host_path":"/run/containerd/sandboxes/` + sandboxID + `/shm"}],
					"devices":[{"host_path":"/dev/kvm"}],
					"linux":{"security_context":{"privileged":true,"capabilities":{"add_capabilities":["SYS_PTRACE"]},"namespace_options":{"network":2,"pid":1}}}}}}`),
			}},
		},
		"sandbox": {ID: sandboxID, Labels: with("io.cri-containerd.kind", "sandbox"), Spec: spec(`{"process":{"args":["/pause"]}}`)},
		"annotations only": {ID: "c2", Spec: spec(`{"annotations":{"io.kubernetes.cri.container-type":"container",
			"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop",
			"io.kubernetes.cri.sandbox-uid":"u-1","io.kubernetes.cri.sandbox-id":"` + sandboxID + `"}}`)},
		"no pod": {ID: "by-hand", Image: "x", Spec: spec(`{"process":{"args":["sleep","9"]}}`)},
		"no CRI": {ID: "c4", Spec: spec(`{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_ADMIN"]}},
			"mounts":[{"type":"bind","source":"/srv","options":["ro"]},{"type":"proc","source":"proc"},{"type":"none","source":"/etc","options":["rbind"]},
				{"type":"bind","source":"/var/lib/docker/containers/c4/hostname"}],
			"linux":{"namespaces":[{"type":"mount"},{"type":"network","path":"/proc/1/ns/net"},{"type":"ipc"},{"type":"uts","path":"/proc/77/ns/uts"},{"type":"cgroup"}],
				"devices":[{"path":"/dev/fuse"}],"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]}}}`)},
		"plain": {ID: "c5", Spec: spec(`{"process":{"capabilities":{"bounding":["CAP_CHOWN"]}},
			"linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"cgroup"}],
				"resources":{"devices":[{"allow":true,"access":"rwm","major":1,"type":"c"}]}}}`)},
		"an odd field": {ID: "c6", Spec: spec(`{"process":{"args":["sh"]}}`), Extensions: map[string]*anypb.Any{extensionContainer: {
			Value: []byte(`{"Metadata":{"SandboxID":"` + sandboxID + `","Config":{"metadata":{"name":"app","attempt":"3"},"linux":{"security_context":{"privileged":true}}}}}`),
		}}},
		"an odd field of a specification": {ID: "c7", Spec: spec(`{"process":{"args":["sh"],"terminal":1},"mounts":[{"type":"bind","source":"/srv"}],
			"linux":{"namespaces":[{"type":"network","path":"/proc/1/ns/net"},{"type":7}]}}`)},
		"damaged": {ID: "c3", Spec: spec(`{"process":{"args":[1]`), Extensions: map[string]*anypb.Any{extensionSandbox: {Value: []byte("{")}}},
	}
}

func TestDescribe(t *testing.T) {
	want := map[string]event.RuntimeContainer{
		"container": {
			ID: "c1", Image: "docker.io/library/busybox:1", Runtime: "io.containerd.runc.v2", Name: "app", Pod: "web-0", PodNamespace: "shop",
			PodUID: "u-1", SandboxID: sandboxID, Attempt: 3, Argv: []string{"/bin/sh", "-c", "a b"}, TTY: true, Created: at,
			HostAccess: &event.HostAccess{
				Privileged: true, Namespaces: []string{"network"}, Capabilities: []string{"SYS_PTRACE"}, Devices: []string{"/dev/kvm"},
				Paths: []string{"/var/lib/kubelet/pods/u-2/volumes/x", "/var/log"},
			},
		},
		"no CRI": {ID: "c4", HostAccess: &event.HostAccess{
			Privileged: true, Namespaces: []string{"network", "pid"}, Capabilities: []string{"SYS_ADMIN"}, Devices: []string{"/dev/fuse"}, Paths: []string{"/etc", "/srv"},
		}},
		"an odd field": {ID: "c6", SandboxID: sandboxID, Argv: []string{"sh"}, HostAccess: &event.HostAccess{Privileged: true, Partial: true}},
		"an odd field of a specification": {ID: "c7", Argv: []string{"sh"}, HostAccess: &event.HostAccess{
			Namespaces: []string{"network"}, Paths: []string{"/srv"}, Partial: true,
		}},
		"plain":            {ID: "c5", HostAccess: &event.HostAccess{}},
		"sandbox":          {ID: sandboxID, Pod: "web-0", PodNamespace: "shop", PodUID: "u-1", Sandbox: true, SandboxID: sandboxID, Argv: []string{"/pause"}},
		"annotations only": {ID: "c2", Name: "app", Pod: "web-0", PodNamespace: "shop", PodUID: "u-1", SandboxID: sandboxID},
		"no pod":           {ID: "by-hand", Image: "x", Argv: []string{"sleep", "9"}},
		"damaged":          {ID: "c3"},
	}
	for name, c := range records() {
		got, err := describe(received, "k8s.io", c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w := want[name]
		w.Header, w.Namespace = event.Header{Time: received, Witness: event.WitnessContainerd}, "k8s.io"
		if d := cmp.Diff(w, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if got, err := describe(received, "k8s.io", &containersapi.Container{}); err == nil {
		t.Errorf("a container without an id: %+v", got)
	}
}

// FuzzDescribe feeds whole records: what is described survives the wire.
func FuzzDescribe(f *testing.F) {
	for _, c := range records() {
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c containersapi.Container
		if proto.Unmarshal(b, &c) != nil {
			return
		}
		d, err := describe(received, "k8s.io", &c)
		if err != nil {
			return
		}
		wire, err := event.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.Unmarshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		again, err := event.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if string(wire) != string(again) {
			t.Fatalf("changed on the wire: %s to %s", wire, again)
		}
	})
}

// TestAskerAsksOnce: a container is asked about once, however often it is heard
// of, and again when it was deleted.
func TestAskerAsksOnce(t *testing.T) {
	a := newAsker(nil)
	for range 3 {
		a.want("k8s.io", "c1")
	}
	a.want("moby", "c1")
	if len(a.queue) != 2 {
		t.Errorf("%d questions, want 2", len(a.queue))
	}
	a.forget("k8s.io", "c1")
	a.want("k8s.io", "c1")
	if len(a.queue) != 3 {
		t.Errorf("%d questions after a deletion, want 3", len(a.queue))
	}
}

func TestAskerIsBounded(t *testing.T) {
	a := newAsker(nil)
	for i := range 2 * questionsMax {
		a.want("k8s.io", event.ContainerID(time.Duration(i).String()))
	}
	if len(a.queue) != questionsMax || len(a.known) != questionsMax {
		t.Errorf("%d questions, %d known", len(a.queue), len(a.known))
	}
}
