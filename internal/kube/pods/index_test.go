package pods

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sallyport/sallyport/internal/core/event"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// synthetic returns a pod as a deployment's are: a sidecar, probes, a status,
// and all that nobody here wants to keep.
func synthetic(i int) *corev1.Pod {
	yes, always := true, corev1.ContainerRestartPolicyAlways
	name := fmt.Sprintf("web-%d-7d9c6b8f5d-%05d", i/50, i)
	env := make([]corev1.EnvVar, 30)
	for n := range env {
		env[n] = corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", n), Value: "a value of some length, as they are"}
	}
	probe := func(argv ...string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 10, TimeoutSeconds: 2, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: argv}}}
	}
	container := func(name string) corev1.Container {
		return corev1.Container{
			Name: name, Image: "registry.example.com/shop/" + name + ":1.2.3", Command: []string{"/usr/bin/" + name}, Args: []string{"--config", "/etc/" + name},
			Env: env, LivenessProbe: probe("/bin/sh", "-c", "check --alive"), ReadinessProbe: probe("/bin/ready"),
		}
	}
	side := container("proxy")
	side.RestartPolicy = &always
	side.SecurityContext = &corev1.SecurityContext{Privileged: &yes, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}}
	side.VolumeMounts = []corev1.VolumeMount{{Name: "log"}, {Name: "none"}}
	side.Env = append([]corev1.EnvVar{{Name: "NODE_OPTIONS", Value: "-r /x.js"}}, side.Env...)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: fmt.Sprintf("team-%d", i%200), UID: types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)), ResourceVersion: fmt.Sprint(i + 1),
			Labels:          map[string]string{"app": "web", "pod-template-hash": "7d9c6b8f5d"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: fmt.Sprintf("web-%d-7d9c6b8f5d", i/50), Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			HostPID: true, Volumes: []corev1.Volume{
				{Name: "log", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log/"}}},
				{Name: "none", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
			NodeName: fmt.Sprintf("node-%d", i%1000), ServiceAccountName: "default", InitContainers: []corev1.Container{side},
			Containers: []corev1.Container{container("app")},
		},
		Status: corev1.PodStatus{
			PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255)}}, StartTime: &metav1.Time{Time: noon},
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "proxy", ContainerID: fmt.Sprintf("containerd://%064x", 2*i)}},
			ContainerStatuses:     []corev1.ContainerStatus{{Name: "app", ContainerID: fmt.Sprintf("containerd://%064x", 2*i+1)}},
		},
	}
}

func TestDescribe(t *testing.T) {
	hooks := []event.KubeHook{
		{Kind: event.KubeLiveness, Argv: []string{"/bin/sh", "-c", "check --alive"}, Period: event.Duration(10 * time.Second), Timeout: event.Duration(2 * time.Second)},
		{Kind: event.KubeReadiness, Argv: []string{"/bin/ready"}, Period: event.Duration(10 * time.Second), Timeout: event.Duration(2 * time.Second)},
	}
	want := event.KubePod{
		Header: header(noon), Namespace: "team-7", Name: "web-0-7d9c6b8f5d-00007", UID: "00000007-0000-4000-8000-000000000007", NodeName: "node-7",
		Addresses: []string{"10.0.0.7"}, ServiceAccount: "default", Owner: "ReplicaSet/web-0-7d9c6b8f5d", Started: noon,
		Containers: []event.KubeContainer{
			{Name: "proxy", Kind: event.KubeSidecar, ID: event.ContainerID(fmt.Sprintf("%064x", 14)), Image: "registry.example.com/shop/proxy:1.2.3", Command: []string{"/usr/bin/proxy"}, Args: []string{"--config", "/etc/proxy"}, Hooks: hooks,
				Variables:  []event.Variable{{Name: "NODE_OPTIONS", Value: "-r /x.js"}},
				HostAccess: &event.HostAccess{Privileged: true, Namespaces: []string{"pid"}, Capabilities: []string{"NET_ADMIN"}, Paths: []string{"/var/log"}}},
			{Name: "app", Kind: event.KubeApp, ID: event.ContainerID(fmt.Sprintf("%064x", 15)), Image: "registry.example.com/shop/app:1.2.3", Command: []string{"/usr/bin/app"}, Args: []string{"--config", "/etc/app"}, Hooks: hooks,
				HostAccess: &event.HostAccess{Namespaces: []string{"pid"}}},
		},
	}
	if d := cmp.Diff(want, newSharer().describe(noon, synthetic(7))); d != "" {
		t.Error(d)
	}
	static := synthetic(1)
	static.Annotations = map[string]string{"kubernetes.io/config.source": "file", "kubernetes.io/config.mirror": "x"}
	if !newSharer().describe(noon, static).Static {
		t.Error("a static pod is not said to be one")
	}
}

// TestIndex: a pod is reported when something of it changed that is of use.
func TestIndex(t *testing.T) {
	x := newIndex()
	put := func(p *corev1.Pod) bool {
		o := newSharer().describe(time.Now(), p)
		return x.put(&o)
	}
	x.begin()
	if !put(synthetic(1)) || !put(synthetic(2)) {
		t.Error("a new pod is not reported")
	}
	p := synthetic(1)
	p.ResourceVersion, p.Labels, p.Status.Phase = "9", nil, corev1.PodRunning
	if put(p) {
		t.Error("a pod that has the same commands is reported again")
	}
	p.Status.ContainerStatuses[0].ContainerID = "containerd://other"
	if !put(p) {
		t.Error("a container that was started again is not reported")
	}
	if gone := x.end(noon); len(gone) != 0 {
		t.Errorf("gone: %+v", gone)
	}
	x.begin()
	put(synthetic(2))
	gone := x.end(noon)
	if len(gone) != 1 || !gone[0].Deleted || gone[0].UID != string(p.UID) || gone[0].Name != p.Name || gone[0].Namespace != p.Namespace {
		t.Errorf("gone: %+v", gone)
	}
}

// pods100k is what a large cluster has.
const pods100k = 100_000

// BenchmarkIndex measures what the index keeps of each of 100,000 pods, and
// what the reports themselves take if somebody keeps all of them.
func BenchmarkIndex(b *testing.B) {
	for name, keep := range map[string]bool{"index": false, "index+reports": true} {
		b.Run(name, func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				x, share := newIndex(), newSharer()
				kept := make([]event.KubePod, 0)
				x.begin()
				for i := range pods100k {
					o := share.describe(noon, decoded(b, i))
					x.put(&o)
					if keep {
						kept = append(kept, o)
					}
				}
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&after)
				runtime.KeepAlive(x)
				runtime.KeepAlive(share)
				runtime.KeepAlive(kept)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/pods100k, "B/pod")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		})
	}
}

// decoded returns a pod that shares no memory with any other, as from the API
// server.
func decoded(b *testing.B, i int) *corev1.Pod {
	raw, err := synthetic(i).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	var p corev1.Pod
	if err := p.Unmarshal(raw); err != nil {
		b.Fatal(err)
	}
	return &p
}
