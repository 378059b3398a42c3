package exposure_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/testbed/clusters"
)

var sizes = []struct {
	name string
	clusters.Size
}{{"1k", clusters.S1k}, {"10k", clusters.S10k}, {"10kx", clusters.S10kx}, {"100k", clusters.S100k}}

// BenchmarkNew builds the graph.
func BenchmarkNew(b *testing.B) {
	for _, s := range sizes {
		c := s.Cluster()
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				exposure.New(c)
			}
		})
	}
}

// BenchmarkCut asks for the reach of everybody, and which bindings to remove.
func BenchmarkCut(b *testing.B) {
	for _, s := range sizes {
		a := exposure.New(s.Cluster())
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(float64(a.Cut(nil, 10, nil).Pairs), "pairs")
			}
		})
	}
}

func BenchmarkWhoCanExec(b *testing.B) {
	for _, s := range sizes {
		c := s.Cluster()
		a := exposure.New(c)
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				a.WhoCanExec(&c.Pods[len(c.Pods)/2])
			}
		})
	}
}
