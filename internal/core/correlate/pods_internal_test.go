package correlate

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// podWord is a word about the n-th pod, second seconds after noon.
func podWord(n, second int, ids ...string) event.KubePod {
	o := event.KubePod{
		Header:    event.Header{Time: noon.Add(time.Duration(second) * time.Second), Witness: event.WitnessKube},
		Namespace: "shop", Name: fmt.Sprintf("web-%d", n), UID: fmt.Sprintf("uid-%d", n), NodeName: fmt.Sprintf("node%d", n%50),
		Owner: "ReplicaSet/web", Addresses: []string{"10.1.0.5"}, Started: noon,
	}
	for i, id := range ids {
		o.Containers = append(o.Containers, event.KubeContainer{Name: fmt.Sprintf("c%d", i), ID: event.ContainerID(id), Image: "shop/web:7"})
	}
	return o
}

// TestPodsInAnyOrder: words about pods may come in any order, that of their end
// first, and what describes a pod outlives it.
func TestPodsInAnyOrder(t *testing.T) {
	end := event.KubePod{Header: podWord(1, 40).Header, Namespace: "shop", Name: "web-1", UID: "uid-1", NodeName: "node1", Deleted: true}
	words := []event.KubePod{podWord(1, 1), podWord(1, 2, "a"), podWord(1, 3, "b"), podWord(1, 5, "b", "c"), end, podWord(2, 2, "x")}
	state := func(list []event.KubePod) *pods {
		p := newPods()
		for _, o := range list {
			p.apply(o)
		}
		return p
	}
	want := state(words)
	if got := want.at(podName{"shop", "web-1"}, "", noon.Add(time.Minute)); got == nil || got.Owner != "ReplicaSet/web" || len(got.Containers) != 2 {
		t.Fatalf("the pod that was: %+v", got)
	}
	same := cmp.Options{cmp.AllowUnexported(pods{}, podLife{}, podPlace{}, podName{}), cmpopts.SortSlices(func(a, b event.ContainerID) bool { return a < b })}
	rapid.Check(t, func(t *rapid.T) {
		if diff := cmp.Diff(want, state(rapid.Permutation(words).Draw(t, "order")), same); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestPodsAreBounded: pods come and go, names are used again, containers start
// anew, and no more is remembered than there is and than was of late.
func TestPodsAreBounded(t *testing.T) {
	p := newPods()
	for i := range 20_000 {
		o := podWord(i%3000, i, fmt.Sprint("c", i))
		o.UID = fmt.Sprint("u", i)
		p.apply(o)
		for k := range 40 {
			o.Containers[0].ID = event.ContainerID(fmt.Sprint("c", i, "-", k))
			o.Time = o.Time.Add(time.Millisecond)
			if i%500 == 0 {
				p.apply(o)
			}
		}
		o.Deleted, o.Containers = true, nil
		p.apply(o)
	}
	lives := 0
	for _, l := range p.lives {
		lives += len(l)
	}
	if most := int(podGoneKeep/time.Second) + 1; lives > most || len(p.gone) > most || len(p.containers) > most+podIDsMax*20 || lives < 3000 {
		t.Errorf("%d lives, %d gone, %d containers", lives, len(p.gone), len(p.containers))
	}
	full := newPods()
	for i := range podsMax + 10 {
		full.apply(podWord(i, 1))
	}
	if len(full.lives) != podsMax {
		t.Errorf("%d pods", len(full.lives))
	}
}

// BenchmarkFleetPods is what pods cost a fleet in memory, and that as a multiple
// of what the pods of one host cost its engine.
func BenchmarkFleetPods(b *testing.B) {
	const n = 100_000
	fill := func(nodes int) (bytes float64) {
		var before, after runtime.MemStats
		f := NewFleet(Options{})
		for i := range nodes {
			f.Observe(event.Tick{Header: event.Header{Time: noon, Witness: event.WitnessEngine, Node: fmt.Sprint("node", i)}})
		}
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			f.Observe(podWord(i, 1, fmt.Sprintf("%064x", i)))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(f)
		return float64(after.HeapAlloc) - float64(before.HeapAlloc)
	}
	for b.Loop() {
		one, many := fill(0), fill(50)
		b.ReportMetric(many/n, "B/pod")
		b.ReportMetric(many/one, "x-one-host")
	}
}
