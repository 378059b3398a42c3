package correlate_test

import (
	"fmt"
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
