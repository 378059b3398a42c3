package scan_test

import (
	"bytes"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/testbed/clusters"
)

var sizes = map[string]clusters.Size{"10k": clusters.S10kx, "100k": clusters.S100k}

func BenchmarkRead(b *testing.B) {
	for name, size := range sizes {
		file := write(b, &inventory.Inventory{Cluster: size.Cluster()})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := scan.Read(bytes.NewReader(file)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(file)), "file-bytes")
		})
	}
}
