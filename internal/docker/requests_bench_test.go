package docker

import "testing"

// BenchmarkSegments parses the three requests of one docker exec, as sampled.
func BenchmarkSegments(b *testing.B) {
	segs := wire(conversations[0].turns, uncut, 1<<20)
	r := NewRequests(RequestOptions{})
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range segs {
			r.Segment(s)
		}
		r.Forget(7)
	}
}
