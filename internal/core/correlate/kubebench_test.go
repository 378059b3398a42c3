package correlate_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
)

// BenchmarkKubeStorm is the cost of one exec, of the same argv as all others,
// in a pod in which a few always overlap.
func BenchmarkKubeStorm(b *testing.B) {
	for _, n := range []int{50, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				c := newCluster(false)
				for i := range n {
					c.exec(fmt.Sprint("user", i%8), time.Second, "/bin/id")
					c.later(400 * time.Millisecond)
				}
				c.end()
				e := correlate.New(correlate.Options{})
				slices.SortStableFunc(c.obs, func(a, b event.Observation) int { return a.Head().Time.Compare(b.Head().Time) })
				for _, o := range c.obs {
					e.Observe(o)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/exec")
		})
	}
}

// BenchmarkPods is the memory for 100,000 running pods of two containers, which
// a fleet remembers for the engine "" and for engines to come.
func BenchmarkPods(b *testing.B) {
	const pods = 100_000
	for b.Loop() {
		before := heap()
		f := correlate.NewFleet(correlate.Options{})
		for i := range pods {
			f.Observe(pod(i))
		}
		b.ReportMetric(float64(heap()-before)/1e6, "MB")
		b.ReportMetric(float64(heap()-before)/pods, "B/pod")
		runtime.KeepAlive(f)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// pod returns pod i as the API server tells of it.
func pod(i int) event.KubePod {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Millisecond)
	probe := []event.KubeHook{{Kind: event.KubeLiveness, Argv: []string{"/app/health", fmt.Sprint("--port=", i)}, Period: event.Duration(10 * time.Second)}}
	return event.KubePod{
		Header: event.Header{Time: at, Witness: event.WitnessKube}, Namespace: fmt.Sprint("team-", i%200), Name: fmt.Sprintf("web-%09x-%05x", i*7, i),
		UID: fmt.Sprintf("%08x-0000-4000-a000-%012x", i, i), NodeName: fmt.Sprint("node-", i%1000), Addresses: []string{fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)},
		ServiceAccount: "default", Owner: fmt.Sprintf("ReplicaSet/web-%09x", i*7), Started: at,
		Containers: []event.KubeContainer{
			{Name: "app", Kind: event.KubeApp, ID: event.ContainerID(fmt.Sprintf("%064x", 2*i)), Image: fmt.Sprint("registry.example/app:", i%50), Command: []string{"/app/server"}, Hooks: probe},
			{Name: "proxy", Kind: event.KubeSidecar, ID: event.ContainerID(fmt.Sprintf("%064x", 2*i+1)), Image: "registry.example/proxy:1"},
		},
	}
}
